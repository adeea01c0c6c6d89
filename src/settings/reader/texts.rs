//! Settings that are addresses, names or one of several words.

use std::net::SocketAddr;

use url::Url;

use super::Reader;
use crate::store::redis::keys::Prefix;

impl Reader {
    pub(in crate::settings) fn address(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> SocketAddr {
        self.read_plain(key, default, help, SocketAddr::from(([127, 0, 0, 1], 0)), |text| {
            text.parse().map_err(|_| {
                format!(
                    "`{text}` is not a valid address. Use IP:port, for example {default}; host names are not supported"
                )
            })
        })
    }

    /// One of several words.
    pub(in crate::settings) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&str, T)],
        help: &'static str,
    ) -> T {
        let names = choices.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        self.read_plain(key, default, help, choices[0].1, |text| {
            let found = choices.iter().find(|(name, _)| *name == text);
            found.map(|(_, value)| *value).ok_or_else(|| format!("invalid value `{text}`; expected {names}"))
        })
    }

    /// Any text, or none.
    pub(in crate::settings) fn optional(&mut self, key: &'static str, help: &'static str) -> Option<String> {
        self.read_plain(key, "", help, None, |text| Ok((!text.is_empty()).then(|| text.to_owned())))
    }

    /// Web origins separated by commas, or `*`.
    pub(in crate::settings) fn origins(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Vec<String> {
        self.read_plain(key, default, help, Vec::new(), parse_origins)
    }

    pub(in crate::settings) fn log_filter(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> String {
        self.read_plain(key, default, help, default.to_owned(), |text| {
            let checked = crate::logging::check_filter(text);
            checked.map(|()| text.to_owned()).map_err(|problem| format!("invalid log filter `{text}`: {problem}"))
        })
    }

    pub(in crate::settings) fn redis_prefix(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Option<Prefix> {
        self.read(key, default, help, str::to_owned, |text| {
            text.parse().map_err(|problem| format!("invalid prefix `{text}`: {problem}"))
        })
    }
}

fn parse_origins(text: &str) -> Result<Vec<String>, String> {
    let origins: Vec<_> =
        text.split(',').map(|origin| origin.trim().to_owned()).filter(|origin| !origin.is_empty()).collect();
    if origins.iter().any(|origin| origin == "*") && origins.len() > 1 {
        return Err(
            "`*` cannot be combined with other origins: pages of listed origins may send credentials, pages of any origin may not"
                .into(),
        );
    }
    for origin in origins.iter().filter(|origin| *origin != "*") {
        let parsed = Url::parse(origin).ok().filter(|url| url.has_host());
        if parsed.is_none_or(|url| url.origin().ascii_serialization() != *origin) {
            return Err(format!(
                "`{origin}` is not an origin. Use scheme, host and port only, for example https://example.com"
            ));
        }
    }
    Ok(origins)
}
