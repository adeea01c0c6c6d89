//! Floods of HTTP/2 frames that ask for nothing: each costs its client a few bytes, and the node a walk over all streams of
//! the connection, an answer, or a piece of an answer. And clients that send some of the same, for good reasons.

use std::time::Instant;

use parking_lot::Mutex;
use serde_json::json;

use super::Target;
use crate::support::eventually;
use crate::support::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, INITIAL_WINDOW, PING, PRIORITY, RST_STREAM, Received,
    SETTINGS, WINDOW_UPDATE, frame, get, request, settings,
};
use crate::support::node::Options;

const STREAM: &str = "/pipelines/p/sse";

/// ENHANCE_YOUR_CALM (RFC 9113, section 7).
const CALM: [u8; 4] = [0, 0, 0, 11];

/// What a client may send of them at once, and what comes back in a second; docs/operate/limits.md says so.
const FRAMES: u64 = 10_000;
const FRAMES_PER_SECOND: u64 = 500;
const SETTINGS_COST: u64 = 500;

/// The flag of DATA that is padded.
const PADDED: u8 = 8;

/// SETTINGS_HEADER_TABLE_SIZE.
const TABLE: u16 = 1;

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// How many frames may come since `began`.
fn allowed(began: Instant, cost: u64) -> u64 {
    (FRAMES + (began.elapsed().as_secs() + 1) * FRAMES_PER_SECOND) / cost + 1
}

/// Sends `flood` in pieces, `times` times, and reads meanwhile; returns everything received until the node ended the connection.
async fn flood(attacker: &mut Http2, flood: &[u8], times: usize) -> Vec<Received> {
    let mut sent = 0;
    while sent < times * flood.len() && !attacker.raw.has_ended() {
        let at = sent % flood.len();
        sent += attacker.raw.send_what_is_taken(&flood[at..(at + (16 << 10)).min(flood.len())]);
        tokio::task::yield_now().await;
    }
    attacker.rest().await
}

/// Whether the client received ENHANCE_YOUR_CALM, unless the end of the connection overtook it.
fn is_told(frames: &[Received]) -> bool {
    frames.last().is_some_and(|last| last.kind == GOAWAY && last.payload[4..8] == CALM)
}

async fn ended_for_it(target: &Target) -> f64 {
    target.node.metric("pipecast_rejected_total{reason=\"http2_flood\"}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_control_frames_end_the_connection_early() {
    let target = Target::start(Options::default()).await;
    let mut reader = target.node.open("live", "").await;
    let walks = [
        [settings(&[(INITIAL_WINDOW, 0)]), settings(&[(INITIAL_WINDOW, 65_535)])].concat(),
        [settings(&[(INITIAL_WINDOW, 65_534)]), settings(&[(INITIAL_WINDOW, 65_535)])].concat(),
        [settings(&[]), settings(&[(TABLE, 0)])].concat(),
        frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]).repeat(2),
    ];
    for (n, walk) in walks.iter().enumerate() {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        for stream in (1..100).step_by(2) {
            attacker.send(get(stream, STREAM)).await;
            attacker.until(|frame| frame.kind == DATA && frame.stream == stream).await;
        }
        let began = Instant::now();
        let frames = flood(&mut attacker, &walk.repeat(5000), 10).await;
        let answered = frames.iter().filter(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).count() as u64;
        assert!(answered <= allowed(began, SETTINGS_COST), "{walk:?}: {answered} were answered");
        assert!(is_told(&frames), "{walk:?}: {:?}", frames.last());
        assert_eq!(ended_for_it(&target).await, (n + 1) as f64);
        target.node.publish("live", "a", json!(n + 1)).await;
    }
    assert_eq!(reader.numbers(walks.len()).await, (1..=walks.len() as u64).collect::<Vec<_>>());
    drop(reader);
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_control_frames_end_the_connection_eventually() {
    let target = Target::start(Options::default()).await;
    let mut reader = target.node.open("live", "").await;
    let floods = [
        frame(PING, 0, 0, b"12345678"),
        frame(PING, ACK, 0, b"12345678"),
        window_update(0, 1),
        window_update(1, 1),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        // A kind that there is not, which is to be passed over.
        frame(0xfa, 0, 0, b""),
        frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()),
    ];
    for (n, one) in floods.iter().enumerate() {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        attacker.send(get(1, STREAM)).await;
        attacker.until(|frame| frame.kind == DATA).await;
        let began = Instant::now();
        let frames = flood(&mut attacker, &one.repeat(5000), 100).await;
        let answered = frames.iter().filter(|frame| frame.kind == PING && frame.flags & ACK != 0).count() as u64;
        assert!(answered <= allowed(began, 1), "{one:?}: {answered} were answered");
        assert!(is_told(&frames), "{one:?}: {:?}", frames.last());
        assert_eq!(ended_for_it(&target).await, (n + 1) as f64, "{one:?}");
        target.node.publish("live", "a", json!(n + 1)).await;
    }
    assert_eq!(reader.numbers(floods.len()).await, (1..=floods.len() as u64).collect::<Vec<_>>());
    drop(reader);
    target.assert_unharmed().await;
}

/// These are counted by the HTTP library.
#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_a_body_with_nothing_in_them_end_the_connection() {
    let target = Target::start(Options::default()).await;
    for padding in [&b""[..], b"\0"] {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        attacker.send(frame(HEADERS, END_HEADERS, 1, &request("POST", "/pipelines/p/events"))).await;
        let flags = if padding.is_empty() { 0 } else { PADDED };
        let frames = flood(&mut attacker, &frame(DATA, flags, 1, padding).repeat(5000), 100).await;
        assert!(is_told(&frames), "{flags}: {:?}", frames.last());
    }
    target.assert_unharmed().await;
}

/// A byte at a time, each of which is a frame: of the answer nothing is earned that way.
#[tokio::test(flavor = "multi_thread")]
async fn answer_that_is_let_in_byte_by_byte_ends_the_connection() {
    let target = Target::start(Options::default()).await;
    let large = json!("x".repeat(100_000));
    target.node.publish("p", "a", large).await;
    let mut attacker = Http2::connect(&target.node, &[(INITIAL_WINDOW, 0)]).await;
    attacker.send(get(1, STREAM)).await;
    attacker.until(|frame| frame.kind == HEADERS).await;
    let began = Instant::now();
    let frames = flood(&mut attacker, &window_update(1, 1).repeat(5000), 20).await;
    let pieces = frames.iter().filter(|frame| frame.kind == DATA).count() as u64;
    assert!(pieces <= allowed(began, 1), "{pieces} pieces");
    assert!(is_told(&frames), "{:?}", frames.last());
    target.node.forget("p").await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn occasional_settings_changes_keep_streams_open() {
    let target = Target::start(Options::default()).await;
    let mut client = Http2::connect(&target.node, &[]).await;
    for stream in (1..100).step_by(2) {
        client.send(get(stream, STREAM)).await;
        client.until(|frame| frame.kind == DATA && frame.stream == stream).await;
    }
    // As clients do that measure their connection and double the window, up to 16 MiB, with a ping each time.
    for doubled in 0..8 {
        client.send(settings(&[(INITIAL_WINDOW, 65_536 << doubled)])).await;
        client.send(frame(PING, 0, 0, b"measured")).await;
        client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).await;
    }
    target.node.publish("p", "a", json!("goes on")).await;
    client.until_text(1, "data: \"goes on\"\n\n").await;
    assert_eq!(ended_for_it(&target).await, 0.0);
    drop(client);
    target.assert_unharmed().await;
}

/// For each piece it gives back the window of its stream and that of the connection, which is the most that a client does.
#[tokio::test(flavor = "multi_thread")]
async fn window_updates_per_event_never_end_a_stream() {
    const BATCHES: u64 = 20;
    let target = Target::start(Options::default()).await;
    let mut client = Http2::connect(&target.node, &[]).await;
    client.send(get(1, STREAM)).await;
    client.until(|frame| frame.kind == DATA).await;
    // More than it could ever send of its own accord.
    for batch in 1..=BATCHES {
        target.node.publish_numbers("p", batch * 1000 - 999..=batch * 1000).await;
        client.until_text(1, &format!("data: {}\n\n", batch * 1000)).await;
    }
    assert_eq!(ended_for_it(&target).await, 0.0);
    drop(client);
    target.assert_unharmed().await;
}

/// It has room for all that its streams replay, and comes late to read it: then it says something about more pieces than it
/// could ever send of its own accord.
#[tokio::test(flavor = "multi_thread")]
async fn window_updates_in_a_burst_never_end_a_stream() {
    const STREAMS: u32 = 100;
    const LARGE: u32 = 16 << 20;
    let target = Target::start(Options::default()).await;
    target.node.publish_numbers("p", 1..=100).await;
    let mut client = Http2::connect(&target.node, &[(INITIAL_WINDOW, LARGE)]).await;
    client.send(window_update(0, LARGE)).await;
    let opened: Vec<u8> = (1..).step_by(2).take(STREAMS as usize).flat_map(|stream| get(stream, STREAM)).collect();
    client.send(opened).await;
    let looks = Mutex::new(Vec::new());
    eventually("the sockets hold what they can", || async {
        let look = target.node.metric("pipecast_events_delivered_total").await;
        looks.lock().push(look);
        look > 0.0 && looks.lock().ends_with(&[look; 20])
    })
    .await;
    let mut whole = 0;
    while whole < STREAMS {
        let data = client.until(|frame| frame.kind == DATA).await;
        whole += u32::from(data.payload.ends_with(b"data: 100\n\n"));
        let length = u32::try_from(data.payload.len()).unwrap();
        client.send([window_update(0, length), window_update(data.stream, length)].concat()).await;
    }
    // Behind all of those.
    client.send(frame(PING, 0, 0, b"12345678")).await;
    client.until(|frame| frame.kind == PING).await;
    assert_eq!(ended_for_it(&target).await, 0.0);
    drop(client);
    target.assert_unharmed().await;
}

/// A proxy has many publishers on one connection. Of some the body comes a moment later than the head, for which they are refused.
#[tokio::test(flavor = "multi_thread")]
async fn early_rejections_keep_the_connections_other_streams() {
    const REFUSED: u32 = 1500;
    const AT_ONCE: usize = 50;
    let target = Target::start(Options::default()).await;
    let mut proxy = Http2::connect(&target.node, &[]).await;
    proxy.send([window_update(0, 16 << 20), get(1, STREAM)].concat()).await;
    proxy.until(|frame| frame.kind == DATA).await;
    let streams: Vec<_> = (3..).step_by(2).take(REFUSED as usize).collect();
    for some in streams.chunks(AT_ONCE) {
        for stream in some {
            // Not JSON.
            proxy.send(frame(HEADERS, END_HEADERS, *stream, &request("POST", "/pipelines/p/events"))).await;
        }
        // Behind them: what is answered by then was not held back for its body.
        proxy.send(frame(PING, 0, 0, b"12345678")).await;
        let mut answered = 0;
        let is_answer = |frame: &Received| frame.kind == DATA && frame.flags & END_STREAM != 0;
        loop {
            let seen = proxy.until(|frame| is_answer(frame) || frame.kind == PING).await;
            if seen.kind == PING {
                break;
            }
            answered += 1;
        }
        for stream in some {
            proxy.send([frame(DATA, 0, *stream, b"half"), frame(DATA, END_STREAM, *stream, b"a body")].concat()).await;
        }
        while answered < some.len() {
            proxy.until(is_answer).await;
            answered += 1;
        }
    }
    target.node.publish("p", "a", json!("goes on")).await;
    proxy.until_text(1, "data: \"goes on\"\n\n").await;
    drop(proxy);
    target.assert_unharmed().await;
}

/// Each answer earns what a client says about it.
#[tokio::test(flavor = "multi_thread")]
async fn client_that_ranks_and_cancels_its_requests_is_never_cut_off() {
    const REQUESTS: u32 = 5000;
    let target = Target::start(Options::default()).await;
    let mut client = Http2::connect(&target.node, &[]).await;
    for stream in (1..).step_by(2).take(REQUESTS as usize) {
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", "/nowhere"));
        let ranked = frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]);
        client.send([ranked, asked, window_update(stream, 1000)].concat()).await;
        client.until(|frame| frame.stream == stream && frame.flags & END_STREAM != 0).await;
        client.send([frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()), window_update(0, 1000)].concat()).await;
    }
    assert_eq!(ended_for_it(&target).await, 0.0);
    drop(client);
    target.assert_unharmed().await;
}
