//! Everything read from outside, with arbitrary bytes: nothing panics, and what is
//! accepted is in order. `PROPTEST_CASES` raises the number of cases.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;

use bytes::Bytes;
use pipecast::event::PipelineId;
use pipecast::event::{Batch, EventLimits, Shape, check_channel};
use pipecast::event::{EventId, ResumePoint};
use pipecast::event::{Gap, GapReason};
use pipecast::log::notification::Notification;
use pipecast::settings::{Settings, Sources};
use pipecast::sse::frame::{Entry, Frame, History, LossRecord};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::value::RawValue;

const LIMITS: EventLimits = EventLimits { max_event_size: 1 << 10, max_batch_events: 5, max_json_depth: 6 };

/// At least so many cases.
fn cases(least: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(least), failure_persistence: None, ..default }
}

/// A change to some bytes, small enough that what comes out is nearly right.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index, usize),
    Double(Index, usize),
    Cut(Index),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // What means something to one of the parsers, more often than the rest.
    let byte = prop_oneof![3 => select(b"\n\r\0 :-[]{}\",\\0129eidatvn\xff\xc3".to_vec()), 1 => any::<u8>()];
    let mutation = prop_oneof![
        3 => (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        3 => (any::<Index>(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => (any::<Index>(), 1usize..12).prop_map(|(at, length)| Mutation::Remove(at, length)),
        1 => (any::<Index>(), 1usize..40).prop_map(|(at, length)| Mutation::Double(at, length)),
        1 => any::<Index>().prop_map(Mutation::Cut),
    ];
    prop::collection::vec(mutation, 0..4)
}

fn mutated(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match mutation {
            Mutation::Replace(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Insert(at, byte) => bytes.insert(place(at), *byte),
            Mutation::Remove(at, length) => {
                let at = place(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Mutation::Double(at, length) => {
                let at = place(at);
                let part = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            Mutation::Cut(at) => bytes.truncate(place(at)),
            Mutation::Replace(..) => {}
        }
    }
    bytes
}

/// JSON as a publisher writes it, and near misses.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"channel\"",
        "\"payload\"",
        "\"a\"",
        "\"pipecast.x\"",
        "\"\\n\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"ä\\\"\"",
        "1",
        "-0.1e+9",
        "1e999",
        "01",
        "null",
        "true",
        " ",
        "\n",
        "\r\n",
        "\"",
        "\\",
        "\u{feff}",
        "{\"channel\":\"a\",\"payload\":",
        "{\"payload\":[1],\"channel\":\"b\"}",
        "{\"channel\":\"c\",\"payload\":{}}",
    ];
    let soup = prop::collection::vec(select(tokens.to_vec()), 0..20).prop_map(|tokens| tokens.concat().into_bytes());
    let channel = prop_oneof!["[a-z\r\n\0\"]{0,5}", any::<String>(), "(pipecast.|x{254})[a-zä]{0,3}"];
    let payload =
        select(vec!["1", "\"x\"", "[[1], {\"a\" : 2}]", "\"\\r\\n\"", "[[[[[[[1]]]]]]]", "12345678901234567890.10"]);
    let event = (channel, payload).prop_map(|(channel, payload)| {
        format!("{{\"channel\":{},\"payload\":{payload}}}", serde_json::to_string(&channel).unwrap())
    });
    let whole =
        (prop::collection::vec(event, 0..8), select(vec!["\n", ",", "\r\n\n"])).prop_map(|(events, between)| {
            let events = events.join(between);
            if between == "," { format!("[{events}]") } else { events }.into_bytes()
        });
    let near = (whole, mutations()).prop_map(|(whole, mutations)| mutated(whole, &mutations));
    prop_oneof![2 => soup, 4 => near, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// Fails unless everything about an accepted batch is as promised, and it says the same when it is sent again.
fn check_batch(batch: &Batch) -> Result<(), TestCaseError> {
    prop_assert!((1..=LIMITS.max_batch_events).contains(&batch.events.len()));
    for event in &batch.events {
        let frame = Frame::new(EventId { ms: 7, seq: 3 }, event.body()).unwrap();
        prop_assert_eq!(frame.text().split(|byte| *byte == b'\n').count(), 5);
        prop_assert!(!frame.text().iter().any(|byte| matches!(byte, b'\r' | 0)));
        prop_assert_eq!(check_channel(frame.channel()), Ok(()));
        prop_assert!(!frame.channel().contains(char::is_control));
        prop_assert!(frame.channel().len() + frame.payload().len() <= LIMITS.max_event_size);
        prop_assert!(serde_json::from_str::<&RawValue>(frame.payload()).is_ok(), "{:?}", frame.payload());
        let channel = serde_json::to_string(frame.channel()).unwrap();
        let again = format!("{{\"channel\":{channel},\"payload\":{}}}", frame.payload());
        prop_assert_eq!(&Batch::from_json(again.as_bytes(), &LIMITS).unwrap().events, std::slice::from_ref(event));
    }
    Ok(())
}

/// An id as it is, or as it should not be.
fn id() -> impl Strategy<Value = String> {
    let number =
        || prop_oneof![0u64..12, (1u64 << 53) - 2..(1 << 53) + 2, any::<u64>()].prop_map(|number| number.to_string());
    prop_oneof![
        6 => (number(), number()).prop_map(|(ms, seq)| format!("{ms}-{seq}")),
        1 => "[0-9+ -]{0,40}",
        1 => any::<String>(),
    ]
}

fn frame_text() -> impl Strategy<Value = Vec<u8>> {
    (id(), "[a-zä\r\n]{1,4}", "[0-9a-z\"{}\n]{0,6}")
        .prop_map(|(id, channel, data)| format!("id: {id}\nevent: {channel}\ndata: {data}\n\n").into_bytes())
}

/// Contents of a list or a notification: entries in a row, damaged or not.
fn entries(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let run = (0u64..9, 1u64..9, 1..most).prop_map(|(ms, seq, count)| {
        let entry = |seq| format!("{ms}-{}\nid: {ms}-{seq}\nevent: a\ndata: {seq}\n\n", seq - 1);
        (seq..).take(count).map(entry).collect::<String>().into_bytes()
    });
    let any_entry = (id(), frame_text()).prop_map(|(before, frame)| [before.as_bytes(), b"\n", &frame].concat());
    let marker = id().prop_map(|id| format!("{id}\n").into_bytes());
    let texts = prop_oneof![
        3 => run,
        1 => marker,
        2 => prop::collection::vec(any_entry, 0..most).prop_map(|entries| entries.concat()),
    ];
    (texts, mutations()).prop_map(|(texts, mutations)| mutated(texts, &mutations))
}

/// Frames in a row, damaged or not.
fn stored(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let run = (1u64..9, 1u64..9, 0..most).prop_map(|(ms, seq, count)| {
        let frames = (seq..).take(count).map(|seq| format!("id: {ms}-{seq}\nevent: a\ndata: {seq}\n\n"));
        frames.collect::<String>().into_bytes()
    });
    let texts = prop_oneof![run, prop::collection::vec(frame_text(), 0..most).prop_map(|frames| frames.concat())];
    (texts, mutations()).prop_map(|(texts, mutations)| mutated(texts, &mutations))
}

fn check_frame(frame: &Frame) -> Result<(), TestCaseError> {
    let text = std::str::from_utf8(frame.text()).unwrap();
    prop_assert_eq!(text, format!("id: {}\nevent: {}\ndata: {}\n\n", frame.id(), frame.channel(), frame.payload()));
    prop_assert!(!text.contains(['\r', '\0']));
    prop_assert!(!frame.channel().contains('\n') && !frame.payload().contains('\n') && !frame.payload().is_empty());
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    prop_assert_eq!(&frame.chunk()[..], chunk.as_bytes());
    Ok(())
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn any_body_is_rejected_or_means_the_same_when_sent_again(body in json()) {
        if let Ok(batch) = Batch::from_json(&body, &LIMITS) {
            check_batch(&batch)?;
            prop_assert_eq!(batch.shape == Shape::List, body.trim_ascii_start().starts_with(b"["));
        }
        if let Ok(batch) = Batch::from_ndjson(&body, &LIMITS) {
            check_batch(&batch)?;
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            prop_assert_eq!(lines.count(), batch.events.len());
        }
    }

    #[test]
    fn frame_of_any_bytes_is_refused_or_has_its_three_lines(text in stored(3)) {
        if let Ok(frame) = Frame::parse(text.clone().into()) {
            check_frame(&frame)?;
            prop_assert_eq!(frame.text(), &text);
        }
        let mut rest = Bytes::from(text.clone());
        if let Ok(frame) = Frame::take(&mut rest) {
            check_frame(&frame)?;
            prop_assert_eq!([frame.text(), &rest].concat(), text);
        }
    }

    #[test]
    fn notification_of_any_bytes_is_refused_or_is_a_run_of_frames(text in entries(5)) {
        if let Ok(notification) = Notification::parse(text.clone().into()) {
            let mut same = Vec::new();
            let mut before = notification.after;
            for frame in &notification.frames {
                check_frame(frame)?;
                same.extend_from_slice(&Entry::text(before, Some(frame)));
                before = frame.id();
            }
            if same.is_empty() {
                same.extend_from_slice(&Entry::text(before, None));
            }
            prop_assert_eq!(same, text);
            prop_assert!(notification.frames.is_sorted_by(|a, b| a.id().is_followed_by(b.id())));
        }
    }

    #[test]
    fn list_of_any_entries_is_a_run_of_frames_that_stood_in_it(entries in prop::collection::vec(prop_oneof![entries(2), stored(2)], 0..8)) {
        let history = History::from_entries(entries.iter().cloned().map(Bytes::from), LossRecord::default());
        let mut before = history.floor;
        for frame in &history.frames {
            check_frame(frame)?;
            prop_assert!(before.is_followed_by(frame.id()), "{} after {before}", frame.id());
            prop_assert!(entries.contains(&Entry::text(before, Some(frame)).to_vec()));
            before = frame.id();
        }
        prop_assert_eq!(history.newest(), before);
    }

    #[test]
    fn resume_point_of_any_text_makes_one_gap_of_three_lines(text in id(), missed in any::<Option<u64>>()) {
        match ResumePoint::parse(&text) {
            None => prop_assert!(text.is_empty()),
            Some(after) => {
                match &after {
                    ResumePoint::After(id) => prop_assert_eq!(id.to_string(), text),
                    ResumePoint::Malformed(kept) => {
                        prop_assert!(kept.len() <= ResumePoint::MAX_BYTES && text.starts_with(kept));
                        prop_assert!(text.parse::<EventId>().is_err());
                    }
                }
                let block = Gap { reason: GapReason::Unknown, after, missed, resume: EventId { ms: 5, seq: 5 } }.text();
                let lines: Vec<_> = block.split(|byte| *byte == b'\n').collect();
                prop_assert_eq!(lines.len(), 5, "{:?}", block);
                prop_assert!(!block.contains(&b'\r') && !block.contains(&0));
                let data = lines.iter().find_map(|line| line.strip_prefix(b"data: ")).unwrap();
                prop_assert!(serde_json::from_slice::<serde_json::Value>(data).is_ok());
            }
        }
    }

    #[test]
    fn ids_order_as_their_numbers_do_and_never_overflow(a in any::<(u64, u64)>(), b in any::<(u64, u64)>(), n in any::<u64>()) {
        let [x, y] = [a, b].map(|(ms, seq)| EventId { ms, seq });
        prop_assert_eq!(x < y, a < b);
        prop_assert!(x.just_before() <= x && x.plus(n) >= x);
        prop_assert!(!x.is_followed_by(y) || x < y);
    }

    #[test]
    fn any_text_is_rejected_or_fits_a_url_and_a_key(name in prop_oneof!["[a-zA-Z0-9._~-]{0,130}", any::<String>(), "[a-z{}:*\r\n%/]{0,9}"]) {
        if let Ok(pipeline) = name.parse::<PipelineId>() {
            prop_assert_eq!(pipeline.as_str(), &name);
            prop_assert!(!name.is_empty() && name.len() <= PipelineId::MAX_BYTES);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)));
        }
    }
}

const SECRET: &str = "s3cr3t";

fn setting() -> impl Strategy<Value = (String, String)> {
    let rows = Settings::load(&Sources::default()).unwrap().1;
    let keys: Vec<_> = rows.iter().map(|row| row.key.to_owned()).collect();
    let key = prop_oneof![8 => select(keys), 1 => "[a-z_]{0,8}\\.[a-z_]{0,8}", 1 => "[a-zA-Z_.\" ]{0,12}", 1 => Just("\"\"".to_owned())];
    let value = prop_oneof![
        2 => select(vec!["", "auto", "off", "0", "1", "15s", "1h 5m", "64KiB", "1e99", "-1", "18446744073709551616", "127.0.0.1:0", "[::1]:80", "*", "https://a.example", "redis://h:1", "/dev/null", "/", "json", "99999999999999999999d", "1.5GiB", "info,x=debug"]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[0-9]{1,25}(ns|ms|s|m|h|d|y|B|KiB|EiB)?",
        1 => "(redis|rediss|http|redis\\+unix)://[a-z:/?@%\\[\\]0-9]{0,12}",
    ];
    (key, value)
}

/// Fails unless each fault says what it is about. Whether they are right is for the tests of single settings.
fn check_settings(sources: &Sources) -> Result<(), TestCaseError> {
    if let Err(faults) = Settings::load(sources) {
        prop_assert!(!faults.0.is_empty());
        for fault in &faults.0 {
            prop_assert!(!fault.key.trim().is_empty() && !fault.problem.is_empty(), "{fault:?}");
            prop_assert!(fault.to_string().contains(&fault.key));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn environment_of_any_text_loads_or_names_the_keys_at_fault(given in prop::collection::vec(setting(), 0..5)) {
        let environment: HashMap<_, _> = given
            .into_iter()
            .map(|(key, value)| (format!("PIPECAST_{}", key.replacen('.', "__", 1).to_uppercase()), value))
            .collect();
        check_settings(&Sources { environment, ..Sources::default() })?;
    }

    #[test]
    fn file_of_any_bytes_loads_or_names_the_keys_at_fault(
        given in prop::collection::vec((setting(), any::<bool>()), 0..5),
        changes in mutations(),
    ) {
        let lines = given.iter().map(|((key, value), is_bare)| {
            if *is_bare { format!("{key} = {value}\n") } else { format!("{key} = {}\n", serde_json::to_string(value).unwrap()) }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipecast.toml");
        std::fs::write(&path, mutated(lines.collect::<String>().into_bytes(), &changes)).unwrap();
        check_settings(&Sources { file: Some(path), ..Sources::default() })?;
    }

    #[test]
    fn password_is_in_no_fault_and_in_no_row(before in "[a-z:/?#@\\[\\]% ]{0,8}", after in "[a-z:/?#@\\[\\]%0-9 ]{0,12}", scheme in "(redis|rediss|redis\\+unix|http|x)") {
        let url = format!("{scheme}://user:{before}{SECRET}{after}@host:6379/0");
        match Settings::load(&Sources { flags: vec![("redis.url", url)], ..Sources::default() }) {
            Ok((settings, rows)) => {
                let shown = rows.iter().find(|row| row.key == "redis.url").unwrap();
                let is_password = url_password(&settings);
                prop_assert!(!is_password || !shown.value.contains(SECRET), "{}", shown.value);
                let debugged = format!("{settings:?}");
                prop_assert!(!debugged.contains(SECRET));
            }
            Err(faults) => prop_assert!(!faults.to_string().contains(SECRET), "{faults}"),
        }
    }
}

/// Whether the secret is in the password's position, not in the host or the path.
fn url_password(settings: &Settings) -> bool {
    let url = settings.redis.as_ref().and_then(|redis| url::Url::parse(&redis.options.url).ok());
    url.is_some_and(|url| {
        url.password().is_some_and(|password| password.contains(SECRET))
            || url.query().is_some_and(|query| query.contains(SECRET))
    })
}
