//! Settings that are durations, sizes or counts.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::Reader;

impl Reader {
    pub(in crate::settings) fn duration(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<Duration>,
        help: &'static str,
    ) -> Duration {
        self.read_plain(key, default, help, *range.start(), |text| parse_duration(text, &range))
    }

    /// A duration, or `off`.
    pub(in crate::settings) fn optional_duration(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<Duration>,
        help: &'static str,
    ) -> Option<Duration> {
        self.read_plain(key, default, help, None, |text| match text {
            "off" => Ok(None),
            text => parse_duration(text, &range).map(Some).map_err(|problem| format!("{problem}, or `off`")),
        })
    }

    /// A number of bytes.
    pub(in crate::settings) fn size(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> usize {
        self.read_plain(key, default, help, *range.start(), |text| parse_size(text, default, &range))
    }

    pub(in crate::settings) fn count(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> usize {
        self.read_plain(key, default, help, *range.start(), |text| parse_count(text, &range))
    }

    /// A count, or `auto` for the given one.
    pub(in crate::settings) fn count_or(
        &mut self,
        key: &'static str,
        default: &'static str,
        auto: usize,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> usize {
        self.read_plain(key, default, help, auto, |text| match text {
            "auto" => Ok(auto),
            text => parse_count(text, &range).map_err(|problem| format!("{problem}, or `auto`")),
        })
    }

    /// A count of 32 bits.
    pub(in crate::settings) fn number(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<u32>,
        help: &'static str,
    ) -> u32 {
        let wide = *range.start() as usize..=*range.end() as usize;
        self.read_plain(key, default, help, *range.start(), |text| {
            parse_count(text, &wide).map(|count| u32::try_from(count).unwrap_or(*range.end()))
        })
    }
}

pub(super) fn parse_size(text: &str, example: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let size = text.parse::<ByteSize>();
    let size = size.map_err(|_| format!("invalid value `{text}`; expected a size such as {example}"))?;
    let bytes = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    let show = |bytes: &usize| ByteSize(*bytes as u64).to_string();
    Err(format!("invalid value `{text}`; must be between {} and {}", show(range.start()), show(range.end())))
}

pub(super) fn parse_count(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    text.parse().ok().filter(|count| range.contains(count)).ok_or_else(|| {
        format!("invalid value `{text}`; must be a whole number between {} and {}", range.start(), range.end())
    })
}

fn parse_duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text != "0" {
        return Err(format!("`{text}` needs a unit, for example `{text}s`"));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("invalid value `{text}`; expected a duration such as 15s, 500ms or 24h"))?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let show = humantime::format_duration;
    Err(format!("invalid value `{text}`; must be between {} and {}", show(*range.start()), show(*range.end())))
}
