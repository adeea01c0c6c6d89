//! A publisher's body: what is taken of it is what another parser reads in it, as frames that keep their lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipecast::event::{Batch, EventLimits, Shape};
use pipecast::event::EventId;
use pipecast::sse::frame::Frame;
use serde::de::IgnoredAny;
use serde_json::Value;

const LIMITS: EventLimits = EventLimits { max_event_size: 1024, max_batch_events: 8, max_json_depth: 16 };

fuzz_target!(|body: &[u8]| {
    let text = std::str::from_utf8(body).map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    if let Ok(batch) = Batch::from_json(body, &LIMITS) {
        let events = match read(text.expect("JSON is UTF-8")) {
            None => return,
            Some(Value::Array(events)) => events,
            Some(event) => vec![event],
        };
        compare(&batch, &events);
        // The same as lines.
        let lines: Vec<_> = events.iter().map(Value::to_string).collect();
        assert_eq!(
            Batch::from_ndjson(lines.join("\n").as_bytes(), &LIMITS).expect("also lines").events.len(),
            events.len()
        );
    }
    if let Ok(batch) = Batch::from_ndjson(body, &LIMITS) {
        let lines = text.expect("JSON is UTF-8").split('\n').filter(|line| !line.trim_ascii().is_empty());
        let events: Option<Vec<_>> = lines.map(read).collect();
        assert_eq!(batch.shape, Shape::List);
        events.inspect(|events| compare(&batch, events));
    }
});

/// Another parser's reading. `None` where it has no value for what is JSON all the same: a number beyond its own, or half of a
/// surrogate pair; those reach the client as they were written.
fn read(text: &str) -> Option<Value> {
    serde_json::from_str::<IgnoredAny>(text).expect("what is taken is JSON");
    serde_json::from_str(text).ok()
}

fn compare(batch: &Batch, events: &[Value]) {
    assert_eq!(batch.events.len(), events.len());
    assert!((1..=LIMITS.max_batch_events).contains(&events.len()));
    for (taken, event) in batch.events.iter().zip(events) {
        let frame = Frame::new(EventId { ms: 1, seq: 1 }, taken.body()).expect("the body of an event makes a frame");
        assert_eq!(event.as_object().expect("an event is an object").len(), 2);
        assert_eq!(event["channel"], *frame.channel());
        assert!(!frame.channel().is_empty() && !frame.channel().starts_with("pipecast."));
        assert!(!frame.channel().contains(char::is_control));
        assert_eq!(event["payload"], serde_json::from_str::<Value>(frame.payload()).expect("a payload is JSON"));
        assert!(!frame.payload().contains(['\r', '\n', '\0']));
        assert!(frame.channel().len() + frame.payload().len() <= LIMITS.max_event_size);
    }
}
