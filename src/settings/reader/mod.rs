//! Reads single settings, and remembers each that was asked for and what is wrong with it.

mod files;
mod limits;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use config::{Config, File, FileFormat, Value, ValueKind};
use url::Url;

use super::Sources;
use crate::files::text::read_text;
use crate::store::redis::check_url;
use crate::store::redis::keys::Prefix;

/// Names in the environment begin with this; `PIPECAST_STREAM__KEEPALIVE` is `stream.keepalive`.
///
/// The double underscore keeps what Kubernetes sets for a service named pipecast, such as
/// `PIPECAST_PORT`, from being taken for a setting.
const PREFIX: &str = "PIPECAST_";

/// One setting: what it is, and its value in effect.
#[derive(Clone, Debug)]
pub struct Row {
    /// `section.key`.
    pub key: &'static str,
    /// As it would be written.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// The value in effect; secrets are hidden.
    pub value: String,
    /// Where it comes from: `default`, a file's name, an environment variable, a flag.
    pub source: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting's key, or what stands in its place.
    pub key: String,
    /// Where it was set.
    pub source: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source, problem } = self;
        if source.is_empty() { write!(f, "{key}: {problem}") } else { write!(f, "{key} ({source}): {problem}") }
    }
}

struct Given {
    text: String,
    source: String,
}

/// Reads settings one by one.
pub(super) struct Reader {
    given: BTreeMap<String, Given>,
    rows: Vec<Row>,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut reader = Self { given: BTreeMap::new(), rows: Vec::new(), faults: Vec::new() };
        reader.read_file(sources);
        reader.read_environment(&sources.environment);
        for (key, value) in &sources.flags {
            reader.give(key, value.clone(), "flag".into());
        }
        reader
    }

    fn read_file(&mut self, sources: &Sources) {
        let Some(path) = &sources.file else { return };
        let source = path.display().to_string();
        let text = read_text(path).map_err(|error| error.to_string());
        match text.and_then(|text| parse_file(&text)) {
            Ok(value) => self.flatten("", value, &source),
            Err(problem) => self.faults.push(Fault { key: "--config".into(), source, problem }),
        }
    }

    fn flatten(&mut self, prefix: &str, value: Value, source: &str) {
        match value.kind {
            ValueKind::Table(table) => {
                for (key, value) in table {
                    // As TOML writes it: a fault must name something.
                    let key = if key.is_empty() { "\"\"".to_owned() } else { key };
                    let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    self.flatten(&key, value, source);
                }
            }
            // Tables in a list are one setting, written on one line.
            ValueKind::Array(ref items) if items.iter().any(|item| matches!(item.kind, ValueKind::Table(_))) => {
                match value.try_deserialize::<toml::Value>() {
                    Ok(tables) => self.give(prefix, tables.to_string(), source.to_owned()),
                    Err(_) => self.fault(prefix, "is no list of tables"),
                }
            }
            ValueKind::Array(items) => {
                let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
                self.give(prefix, items.join(","), source.to_owned());
            }
            _ => self.give(prefix, value.to_string(), source.to_owned()),
        }
    }

    fn read_environment(&mut self, environment: &HashMap<String, String>) {
        for (name, value) in environment {
            if let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) {
                let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
                self.give(&key, value.clone(), format!("environment variable {name}"));
            }
        }
    }

    fn give(&mut self, key: &str, text: String, source: String) {
        self.given.insert(key.to_owned(), Given { text, source });
    }

    /// All rows, and all faults; what was given and never asked for is one.
    pub(super) fn finish(mut self) -> (Vec<Row>, Vec<Fault>) {
        let known = |key: &str| self.rows.iter().any(|row| row.key == key);
        for (key, given) in &self.given {
            if !known(key) {
                let problem = match nearest(key, &self.rows) {
                    Some(near) => format!("there is no such setting; did you mean {near}?"),
                    None => "there is no such setting; `pipecast config` lists all".to_owned(),
                };
                self.faults.push(Fault { key: key.clone(), source: given.source.clone(), problem });
            }
        }
        (self.rows, self.faults)
    }

    /// Whether somebody has set it, to whatever.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// Says that a setting is wrong in a way that its own value does not show.
    pub(super) fn fault(&mut self, key: &str, problem: &str) {
        let source = self.given.get(key).map(|given| given.source.clone()).unwrap_or_default();
        self.faults.push(Fault { key: key.to_owned(), source, problem: problem.to_owned() });
    }

    /// Reads one setting. After a fault the default stands in, so that the rest can be read too.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
        show: impl Fn(&str) -> String,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, source) = match self.given.get(key) {
            Some(given) => (given.text.clone(), given.source.clone()),
            None => (default.to_owned(), "default".to_owned()),
        };
        let parsed = parse(&text);
        if let Err(problem) = &parsed {
            self.faults.push(Fault { key: key.into(), source: source.clone(), problem: problem.clone() });
        }
        self.rows.push(Row { key, default, help, value: show(&text), source });
        parsed.or_else(|_| parse(default)).ok()
    }

    /// The same, of a value that may be shown.
    pub(super) fn read_plain<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
        fallback: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        // A default that does not parse would be a fault of the declaration, which a test finds.
        self.read(key, default, help, str::to_owned, parse).unwrap_or(fallback)
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<Duration>,
        help: &'static str,
    ) -> Duration {
        self.read_plain(key, default, help, *range.start(), |text| parse_duration(text, &range))
    }

    pub(super) fn optional_duration(
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

    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> usize {
        self.read_plain(key, default, help, *range.start(), |text| parse_size(text, default, &range))
    }

    /// A count, or `auto`.
    pub(super) fn count_or(
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

    pub(super) fn count(
        &mut self,
        key: &'static str,
        default: &'static str,
        range: RangeInclusive<usize>,
        help: &'static str,
    ) -> usize {
        self.read_plain(key, default, help, *range.start(), |text| parse_count(text, &range))
    }

    pub(super) fn number(
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

    pub(super) fn address(&mut self, key: &'static str, default: &'static str, help: &'static str) -> SocketAddr {
        self.read_plain(key, default, help, SocketAddr::from(([127, 0, 0, 1], 0)), |text| {
            text.parse().map_err(|_| {
                format!("`{text}` is no address; write an IP address and a port, such as {default} or [::1]:8080")
            })
        })
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&str, T)],
        help: &'static str,
    ) -> T {
        let names = choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
        self.read_plain(key, default, help, choices[0].1, |text| {
            let found = choices.iter().find(|(name, _)| *name == text);
            found.map(|(_, value)| *value).ok_or_else(|| format!("`{text}` is not possible; write {names}"))
        })
    }

    pub(super) fn origins(&mut self, key: &'static str, default: &'static str, help: &'static str) -> Vec<String> {
        self.read_plain(key, default, help, Vec::new(), |text| {
            let origins: Vec<_> =
                text.split(',').map(|origin| origin.trim().to_owned()).filter(|origin| !origin.is_empty()).collect();
            if origins.iter().any(|origin| origin == "*") && origins.len() > 1 {
                return Err(
                    "`*` stands alone; a page of a listed origin may send credentials, one of any origin may not"
                        .into(),
                );
            }
            for origin in origins.iter().filter(|origin| *origin != "*") {
                let parsed = Url::parse(origin).ok().filter(|url| url.has_host());
                if parsed.is_none_or(|url| url.origin().ascii_serialization() != *origin) {
                    return Err(format!(
                        "`{origin}` is no origin; write scheme, host and port alone, such as https://example.com"
                    ));
                }
            }
            Ok(origins)
        })
    }

    pub(super) fn log_filter(&mut self, key: &'static str, default: &'static str, help: &'static str) -> String {
        self.read_plain(key, default, help, default.to_owned(), |text| {
            let checked = crate::logging::check_filter(text);
            checked.map(|()| text.to_owned()).map_err(|problem| format!("`{text}` is no filter: {problem}"))
        })
    }

    pub(super) fn optional(&mut self, key: &'static str, help: &'static str) -> Option<String> {
        self.read_plain(key, "", help, None, |text| Ok((!text.is_empty()).then(|| text.to_owned())))
    }

    pub(super) fn redis_prefix(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Option<Prefix> {
        self.read(key, default, help, str::to_owned, |text| {
            text.parse().map_err(|problem| format!("`{text}` is no prefix: {problem}"))
        })
    }

    /// A URL whose password is never shown.
    pub(super) fn redis_url(&mut self, key: &'static str, help: &'static str) -> Option<String> {
        const SCHEMES: [&str; 3] = ["redis", "rediss", "redis+unix"];
        self.read(key, "", help, hide_password, |text| {
            if text.is_empty() {
                return Ok(None);
            }
            // The text itself is not repeated: whatever it is, it may hold a password.
            let url = Url::parse(text).map_err(|error| format!("it is no URL ({error}); write redis://host:6379"))?;
            if !SCHEMES.contains(&url.scheme()) {
                return Err(format!(
                    "`{}://` is not possible; write redis://, rediss:// or redis+unix://",
                    url.scheme()
                ));
            }
            check_url(text).map(|()| Some(text.to_owned())).map_err(|error| error.to_string())
        })
        .flatten()
    }
}

/// Reads TOML. What is wrong is told without the line that it is in: there may be a secret in it.
fn parse_file(text: &str) -> Result<Value, String> {
    if let Err(error) = text.parse::<toml::Table>() {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        return Err(format!("line {line} is not TOML: {}", error.message()));
    }
    let config = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    config.map(|config| config.cache).map_err(|error| error.to_string())
}

fn parse_size(text: &str, example: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let size = text.parse::<ByteSize>().map_err(|_| format!("`{text}` is no size; write one such as {example}"))?;
    let bytes = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    let show = |bytes: &usize| ByteSize(*bytes as u64).to_string();
    Err(format!("`{text}` is out of range; {} to {} are possible", show(range.start()), show(range.end())))
}

fn parse_count(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let count = text.parse().map_err(|_| format!("`{text}` is no whole number"))?;
    if range.contains(&count) {
        Ok(count)
    } else {
        Err(format!("{count} is out of range; {} to {} are possible", range.start(), range.end()))
    }
}

fn parse_duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration ({error}); write one such as 15s, 500ms or 24h"))?;
    if range.contains(&duration) {
        Ok(duration)
    } else {
        let show = humantime::format_duration;
        Err(format!("{text} is out of range; {} to {} are possible", show(*range.start()), show(*range.end())))
    }
}

/// A URL with `***` for its user, its password and what stands in its query: an issuer may want a key there.
pub(super) fn hide_user_and_query(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return hide_password(text) };
    if !url.username().is_empty() && url.set_username("***").is_err() {
        return "***".into();
    }
    if url.fragment().is_some() {
        url.set_fragment(Some("***"));
    }
    hide_password(url.as_str())
}

/// A URL with `***` for its password and what stands in its query.
fn hide_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return if text.is_empty() { String::new() } else { "***".into() };
    };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".into();
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.to_string()
}

/// The known key that differs from `key` by least, if that is little.
fn nearest(key: &str, rows: &[Row]) -> Option<&'static str> {
    let near = rows.iter().map(|row| (strsim::damerau_levenshtein(key, row.key), row.key)).min()?;
    (near.0 <= 3).then_some(near.1)
}
