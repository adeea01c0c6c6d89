//! The meaning of `log.filter`.

use tracing_subscriber::filter::LevelFilter;

/// A filter in which levels without a target apply to Pipecast's own code.
///
/// Libraries log what strangers do to them, as often as it happens, so they log only errors. A directive that names a target
/// still wins, since it is more specific.
pub(super) fn about_own_code(filter: &str) -> String {
    let directives = filter.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let (levels, named): (Vec<&str>, Vec<&str>) =
        directives.partition(|directive| directive.parse::<LevelFilter>().is_ok());
    // As in the library, the last one counts. Without any, only named targets are logged.
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
    fn level_without_target_applies_to_own_code() {
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
