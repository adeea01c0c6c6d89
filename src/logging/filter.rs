//! What `log.filter` means.

use tracing_subscriber::filter::LevelFilter;

/// What a filter says to a library's lines.
///
/// A level that stands alone is about our own code. Libraries log what strangers do to them, as often as they do it, so
/// they are heard at `error` only; a directive that names a target wins, since it is more special.
pub(super) fn about_own_code(filter: &str) -> String {
    let directives = filter.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let (levels, named): (Vec<&str>, Vec<&str>) =
        directives.partition(|directive| directive.parse::<LevelFilter>().is_ok());
    // As the library has it, the last one counts. Without any, what is not named is not logged at all.
    let Some(level) = levels.last() else { return filter.to_owned() };
    let is_off = level.parse().is_ok_and(|level: LevelFilter| level == LevelFilter::OFF);
    let of_libraries = if is_off { "off" } else { "error" };
    let own = format!("pipecast={level}");
    [of_libraries, own.as_str()].into_iter().chain(named).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_about_our_own_code() {
        for (filter, expected) in [
            ("info", "error,pipecast=info"),
            ("DEBUG", "error,pipecast=DEBUG"),
            ("off", "off,pipecast=off"),
            ("warn,,info", "error,pipecast=info"),
            ("", ""),
            ("info,pipecast::store=debug", "error,pipecast=info,pipecast::store=debug"),
            ("h2=trace, info", "error,pipecast=info,h2=trace"),
            ("h2=debug,rustls=info", "h2=debug,rustls=info"),
        ] {
            assert_eq!(about_own_code(filter), expected);
            crate::logging::check_filter(&about_own_code(filter)).unwrap();
        }
    }
}
