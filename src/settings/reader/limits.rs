//! Settings that only limits have: rates, memory and networks.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::Reader;
use super::numbers::{parse_count, parse_size};
use crate::limits::proxies::TrustedProxies;
use crate::limits::{Rate, available_memory};

impl Reader {
    /// A count, or none: `off`, or `auto` where the node finds one by itself.
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

    /// Bytes of memory, or `auto`: one of `parts` of the memory that this process may use, at most `most`.
    pub(in crate::settings) fn memory(
        &mut self,
        key: &'static str,
        parts: u64,
        most: u64,
        help: &'static str,
    ) -> usize {
        let auto = usize::try_from(most.min(available_memory::bytes() / parts)).unwrap_or(usize::MAX);
        self.read_plain(key, "auto", help, auto, |text| match text {
            "auto" => Ok(auto),
            text => parse_size(text, "64MiB", &(1 << 20..=1 << 40)).map_err(|problem| format!("{problem}, or `auto`")),
        })
    }

    /// A rate, or `off`.
    pub(in crate::settings) fn rate(&mut self, key: &'static str, help: &'static str) -> Option<Rate> {
        self.read_plain(key, "off", help, None, |text| match text {
            "off" => Ok(None),
            text => text.parse().map(Some).map_err(|problem| format!("invalid value `{text}`: {problem}, or `off`")),
        })
    }

    /// A rate, `off`, or `auto` for a tenth of another one.
    pub(in crate::settings) fn rate_within(
        &mut self,
        key: &'static str,
        whole: Option<Rate>,
        help: &'static str,
    ) -> Option<Rate> {
        const PARTS: NonZeroU32 = NonZeroU32::new(10).unwrap();
        let auto = whole.map(|whole| whole.part(PARTS));
        self.read_plain(key, "auto", help, auto, |text| match text {
            "auto" => Ok(auto),
            "off" => Ok(None),
            text => {
                let wrong = |problem| format!("invalid value `{text}`: {problem}, or `auto`, or `off`");
                text.parse().map(Some).map_err(wrong)
            }
        })
    }

    /// Networks separated by commas; there may be none.
    pub(in crate::settings) fn networks(&mut self, key: &'static str, help: &'static str) -> TrustedProxies {
        self.read_plain(key, "", help, TrustedProxies::default(), |text| {
            text.parse().map_err(|error: crate::limits::proxies::InvalidNetwork| error.to_string())
        })
    }
}
