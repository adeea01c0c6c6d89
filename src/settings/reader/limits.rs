//! Settings of kinds that only limits have.

use std::ops::RangeInclusive;

use super::{Reader, parse_count, parse_size};
use crate::limits::Rate;
use crate::proxies::TrustedProxies;

impl Reader {
    /// A count, or one of the words for none: `off`, or `auto` where the program finds one by itself.
    pub(in crate::settings) fn optional_count(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> Option<usize> {
        self.read_plain(key, default, help, None, |text| match text {
            text if text == default => Ok(None),
            text => parse_count(text, &range).map(Some).map_err(|problem| format!("{problem}, or `{default}`")),
        })
    }

    /// A size in bytes, or `auto`.
    pub(in crate::settings) fn size_or(
        &mut self,
        key: &'static str,
        default: &'static str,
        auto: usize,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> usize {
        self.read_plain(key, default, help, auto, |text| match text {
            "auto" => Ok(auto),
            text => parse_size(text, &range).map_err(|problem| format!("{problem}, or `auto`")),
        })
    }

    /// A rate, or `off`.
    pub(in crate::settings) fn rate(&mut self, key: &'static str, help: &'static str) -> Option<Rate> {
        self.read_plain(key, "off", help, None, |text| match text {
            "off" => Ok(None),
            text => text.parse().map(Some).map_err(|problem| format!("`{text}` is no rate: {problem}, or `off`")),
        })
    }

    /// A list of networks, which may be empty.
    pub(in crate::settings) fn networks(&mut self, key: &'static str, help: &'static str) -> TrustedProxies {
        self.read_plain(key, "", help, TrustedProxies::default(), |text| {
            text.parse().map_err(|error: crate::proxies::InvalidNetwork| error.to_string())
        })
    }
}
