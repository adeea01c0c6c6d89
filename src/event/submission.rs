//! Submissions: events parsed from a publish request's body.
//!
//! Every error in an event is found here, before anything is stored. Nothing downstream can fail because of an event's
//! content. No I/O.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::channel::{InvalidChannel, check_publishable};
use super::compact_json::{self, InvalidPayload};

/// An event without its id: the lines of its frame after `id:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    body: Bytes,
}

/// Limits on submissions, from the section `limits` of the settings.
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    /// Maximum bytes of one event: its channel, and its payload as compact JSON.
    pub max_event_size: usize,
    /// Maximum events in one request.
    pub max_batch_events: usize,
    /// Maximum nesting of arrays and objects in a payload.
    pub max_json_depth: usize,
}

/// The events of one request, in order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Whether the publisher sent one event or a list. The response has the same shape.
    pub shape: Shape,
}

/// The shape of a request and of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One event; the response is `{"id": "..."}`.
    Single,
    /// A JSON array or NDJSON; the response is `{"ids": [...]}`.
    List,
}

/// Why a request's body is rejected. Indexes count from 0.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBatch {
    /// It is not UTF-8, not JSON, or not an event.
    #[error(
        "{at}{problem}; an event is an object such as {{\"channel\": \"names\", \"payload\": {{\"name\": \"Luke\"}}}}"
    )]
    Malformed {
        /// Which event; a prefix for the message, empty for a single event.
        at: BatchIndex,
        /// The JSON parser's message.
        problem: String,
    },
    /// A channel's name is not allowed.
    #[error("{at}{problem}")]
    Channel {
        /// Which event.
        at: BatchIndex,
        /// The rule that it breaks.
        problem: InvalidChannel,
    },
    /// A payload is nested deeper than the limit.
    #[error(
        "{at}the payload is nested deeper than {limit} levels (limits.max_json_depth); flatten it or send it as a string"
    )]
    TooDeep {
        /// Which event.
        at: BatchIndex,
        /// `limits.max_json_depth`.
        limit: usize,
    },
    /// An event is larger than the limit.
    #[error(
        "{at}the event has {bytes} bytes, more than the {limit} of limits.max_event_size; send a reference to the data instead"
    )]
    TooLarge {
        /// Which event.
        at: BatchIndex,
        /// Bytes of channel and compact payload.
        bytes: usize,
        /// `limits.max_event_size`.
        limit: usize,
    },
    /// The request has more events than the limit.
    #[error("the request has more than {limit} events (limits.max_batch_events); split it")]
    TooMany {
        /// `limits.max_batch_events`.
        limit: usize,
    },
    /// The request has no events.
    #[error("the request has no events; send 1-{limit}")]
    Empty {
        /// `limits.max_batch_events`.
        limit: usize,
    },
}

/// The event of a batch that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchIndex {
    /// The only event, or the whole body.
    Whole,
    /// The event at this index, from 0.
    Index(usize),
}

impl std::fmt::Display for BatchIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Index(index) => write!(f, "event at index {index}: "),
        }
    }
}

/// Text in UTF-8 may begin with this. It has no meaning there.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// An event as JSON in a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submitted<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    // Raw, since parsing numbers as floats would lose digits of large ones.
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Event {
    /// The frame's lines below the id: `event:`, `data:` and the blank line.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    fn read(json: &str, at: BatchIndex, limits: &EventLimits) -> Result<Self, InvalidBatch> {
        // serde accepts `["names", 1]` as the two fields in order.
        if json.trim_ascii_start().starts_with('[') {
            return Err(InvalidBatch::Malformed { at, problem: "an array where an event is expected".to_owned() });
        }
        let submitted: Submitted<'_> =
            serde_json::from_str(json).map_err(|error| InvalidBatch::malformed(at, &error))?;
        check_publishable(&submitted.channel).map_err(|problem| InvalidBatch::Channel { at, problem })?;

        let raw = submitted.payload.get();
        let mut body = Vec::with_capacity(submitted.channel.len() + raw.len() + 16);
        body.extend_from_slice(b"event: ");
        body.extend_from_slice(submitted.channel.as_bytes());
        body.extend_from_slice(b"\ndata: ");
        let data_starts = body.len();
        compact_json::compact(raw, limits.max_json_depth, &mut body)
            .map_err(|InvalidPayload::TooDeep| InvalidBatch::TooDeep { at, limit: limits.max_json_depth })?;
        let bytes = submitted.channel.len() + body.len() - data_starts;
        if bytes > limits.max_event_size {
            return Err(InvalidBatch::TooLarge { at, bytes, limit: limits.max_event_size });
        }
        body.extend_from_slice(b"\n\n");
        Ok(Self { body: body.into() })
    }
}

impl Batch {
    /// Parses an `application/json` body: one event, or an array of events.
    ///
    /// # Errors
    /// The first error in the body; no event of an invalid batch is used.
    pub fn from_json(body: &[u8], limits: &EventLimits) -> Result<Self, InvalidBatch> {
        let text = utf8(body)?;
        if !text.trim_ascii_start().starts_with('[') {
            let events = vec![Event::read(text, BatchIndex::Whole, limits)?];
            return Ok(Self { events, shape: Shape::Single });
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let items = deserializer
            .deserialize_seq(AtMost(limits.max_batch_events))
            .and_then(|items| deserializer.end().map(|()| items))
            .map_err(|error| InvalidBatch::malformed(BatchIndex::Whole, &error))?
            .ok_or(InvalidBatch::TooMany { limit: limits.max_batch_events })?;
        Self::from_items(items.into_iter().map(RawValue::get), limits)
    }

    /// Parses an `application/x-ndjson` body: one event per line. Blank lines are ignored.
    ///
    /// # Errors
    /// As [`Batch::from_json`].
    pub fn from_ndjson(body: &[u8], limits: &EventLimits) -> Result<Self, InvalidBatch> {
        let lines = utf8(body)?.lines().filter(|line| !line.trim_ascii().is_empty());
        if lines.clone().nth(limits.max_batch_events).is_some() {
            return Err(InvalidBatch::TooMany { limit: limits.max_batch_events });
        }
        Self::from_items(lines, limits)
    }

    fn from_items<'a>(items: impl Iterator<Item = &'a str>, limits: &EventLimits) -> Result<Self, InvalidBatch> {
        let events = items
            .enumerate()
            .map(|(index, item)| Event::read(item, BatchIndex::Index(index), limits))
            .collect::<Result<Vec<_>, _>>()?;
        if events.is_empty() {
            return Err(InvalidBatch::Empty { limit: limits.max_batch_events });
        }
        Ok(Self { events, shape: Shape::List })
    }
}

impl InvalidBatch {
    fn malformed(at: BatchIndex, error: &serde_json::Error) -> Self {
        Self::Malformed { at, problem: error.to_string() }
    }
}

/// The body's text without the byte order mark that some editors and libraries write (RFC 8259, 8.1).
fn utf8(body: &[u8]) -> Result<&str, InvalidBatch> {
    let text = std::str::from_utf8(body).map_err(|error| InvalidBatch::Malformed {
        at: BatchIndex::Whole,
        problem: format!("the body is not UTF-8: {error}"),
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))
}

/// Parses an array and keeps at most so many values. Otherwise a few megabytes of `[0,0,0...` would need many times their size in
/// memory before they are rejected.
struct AtMost(usize);

impl<'de> Visitor<'de> for AtMost {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        let mut is_over = false;
        while let Some(item) = seq.next_element()? {
            if items.len() < self.0 {
                items.push(item);
            } else {
                is_over = true;
            }
        }
        Ok((!is_over).then_some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EventLimits = EventLimits { max_event_size: 64, max_batch_events: 3, max_json_depth: 4 };

    fn bodies(batch: &Batch) -> Vec<&str> {
        batch.events.iter().map(|event| std::str::from_utf8(event.body()).unwrap()).collect()
    }

    #[test]
    fn single_events_arrays_and_ndjson_are_parsed_in_order() {
        let one = Batch::from_json(br#" {"payload": {"n": 1.10}, "channel": "a b"} "#, &LIMITS).unwrap();
        assert_eq!(one.shape, Shape::Single);
        assert_eq!(bodies(&one), ["event: a b\ndata: {\"n\":1.10}\n\n"]);

        let expected = ["event: x\ndata: 1\n\n", "event: y\ndata: null\n\n"];
        let array = br#"[{"channel":"x","payload":1}, {"channel":"y","payload":null}]"#;
        let array = Batch::from_json(array, &LIMITS).unwrap();
        assert_eq!((array.shape, bodies(&array)), (Shape::List, expected.to_vec()));

        let lines = b"\n{\"channel\":\"x\",\"payload\":1}\r\n \n{\"channel\":\"y\",\"payload\":null}";
        let lines = Batch::from_ndjson(lines, &LIMITS).unwrap();
        assert_eq!((lines.shape, bodies(&lines)), (Shape::List, expected.to_vec()));
    }

    #[test]
    fn errors_name_the_event() {
        fn check(body: &str, expected: &str) {
            let error = Batch::from_json(body.as_bytes(), &LIMITS).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
        check("", "EOF while parsing");
        check("7", "invalid type: integer `7`");
        check("{}", "missing field `channel`");
        check(r#"{"channel":"a"}"#, "missing field `payload`");
        check(r#"{"channel":5,"payload":1}"#, "invalid type: integer `5`, expected a string");
        check(r#"{"channel":"a","payload":1,"ttl":5}"#, "unknown field `ttl`");
        check(r#"{"channel":"a","payload":1} x"#, "trailing characters");
        check(r#"{"channel":"a","payload":01}"#, "invalid number");
        check(r#"{"channel":"","payload":1}"#, "channel is empty");
        check(r#"{"channel":"a\nid: 5","payload":1}"#, "line break");
        check(r#"{"channel":"a\r","payload":1}"#, "line break");
        check(r#"{"channel":"a\u0000","payload":1}"#, "line break");
        check(r#"{"channel":"a\u001b[2J","payload":1}"#, "control character U+001B");
        check(r#"{"channel":"\t","payload":1}"#, "control character U+0009");
        check(r#"{"channel":"a\u007f","payload":1}"#, "control character U+007F");
        check("{\"channel\":\"\u{9b}2J\",\"payload\":1}", "control character U+009B");
        check(r#"{"channel":"pipecast.gap","payload":1}"#, "reserved for the broker");
        check(r#"{"channel":"error","payload":1}"#, "is `error`, which `EventSource` uses");
        check(r#"{"channel":"open","payload":1}"#, "is `open`, which `EventSource` uses");
        check(r#"[["a",1]]"#, "index 0: an array where an event is expected");
        check(r#"[{"channel":"a","payload":1}, ["a",1]]"#, "index 1: an array where an event is expected");
        check(&format!(r#"{{"channel":"{}","payload":1}}"#, "x".repeat(256)), "longer than 255");
        check(r#"{"channel":"a","payload":[[[[[]]]]]}"#, "deeper than 4 levels");
        check(&format!(r#"{{"channel":"a","payload":"{}"}}"#, "x".repeat(64)), "67 bytes, more than the 64");
        check("[]", "has no events; send 1-3");
        check(r#"[{"channel":"a","payload":1},{"channel":"a"}]"#, "index 1: missing field `payload`");
        check(r#"[{"channel":"a","payload":1},"#, "EOF while parsing");
        check("[0,0,0,0]", "more than 3 events");
    }

    #[test]
    fn byte_order_mark_at_the_beginning_is_ignored() {
        let event = r#"{"channel":"x","payload":1}"#;
        let expected = ["event: x\ndata: 1\n\n"];
        for body in [event.to_owned(), format!("[{event}]")] {
            let batch = Batch::from_json(format!("\u{feff}{body}").as_bytes(), &LIMITS).unwrap();
            assert_eq!(bodies(&batch), expected);
        }
        let batch = Batch::from_ndjson(format!("\u{feff}{event}\n").as_bytes(), &LIMITS).unwrap();
        assert_eq!(bodies(&batch), expected);
        assert!(Batch::from_json(format!("\u{feff}\u{feff}{event}").as_bytes(), &LIMITS).is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_rejected() {
        let body = b"{\"channel\":\"a\",\"payload\":\"\xff\"}";
        assert!(matches!(Batch::from_json(body, &LIMITS), Err(InvalidBatch::Malformed { .. })));
        assert!(matches!(Batch::from_ndjson(body, &LIMITS), Err(InvalidBatch::Malformed { .. })));
        assert!(matches!(Batch::from_ndjson(b"\n\n", &LIMITS), Err(InvalidBatch::Empty { limit: 3 })));
    }

    #[test]
    fn deeply_nested_arrays_are_an_error() {
        let deep = format!(r#"{{"channel":"a","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(Batch::from_json(deep.as_bytes(), &LIMITS), Err(InvalidBatch::TooDeep { .. })));
        assert!(Batch::from_json("[".repeat(100_000).as_bytes(), &LIMITS).is_err());
    }
}
