//! A stream's query: its channels are those that another parser finds, and all that is taken keeps to the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipecast::event::check_channel;
use pipecast::http::fuzzing;
use url::form_urlencoded;

fuzz_target!(|query: &str| {
    let Ok(read) = fuzzing::read_query(query) else { return };
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let channels: Vec<_> = pairs.iter().filter(|(name, _)| name == "channel").map(|(_, value)| value).collect();
    assert!(read.channels.iter().eq(channels));
    assert!(read.channels.iter().all(|channel| check_channel(channel).is_ok()) && read.channels.len() <= 100);
    assert_eq!(read.replay.is_some(), pairs.iter().any(|(name, _)| name == "replay"));
    assert!(read.replay.is_none_or(|replay| replay <= 100));
    assert!(read.keepalive.is_none_or(|seconds| (5..=60).contains(&seconds)));
});
