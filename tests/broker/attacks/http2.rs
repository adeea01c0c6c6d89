//! Attacks that only HTTP/2 makes possible: what costs the attacker a few bytes, and the node a stream.

use serde_json::json;

use super::Target;
use crate::support::eventually;
use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, INITIAL_WINDOW, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, get, header, request, settings,
};
use crate::support::node::Options;

const STREAM: &str = "/pipelines/p/sse";

/// `:status: 200` in HPACK.
const STATUS_200: u8 = 0x88;

/// RST_STREAM with CANCEL.
fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// The numbers that a client gives its streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

/// Sends until the node ends the connection or all is sent; whether it ended it.
async fn flood(attacker: &mut Http2, frames: &[u8], times: usize) -> bool {
    for _ in 0..times {
        if !attacker.raw.try_send(frames).await {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_only_its_connection() {
    let target = Target::start(Options::default()).await;
    let mut other = Http2::connect(&target.node, &[]).await;
    other.send(get(1, STREAM)).await;
    other.until(|frame| frame.kind == DATA).await;
    for path in [STREAM, "/pipelines/p/events", "/"] {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        let burst: Vec<u8> = streams(5000).flat_map(|stream| [get(stream, path), cancel(stream)].concat()).collect();
        attacker.raw.try_send(burst).await;
        let last = attacker.rest().await.pop();
        // Unless the reset of a connection with unread bytes overtook it.
        assert!(
            last.as_ref().is_none_or(|frame| frame.kind != GOAWAY || frame.payload[4..8] == 11u32.to_be_bytes()),
            "{last:?}"
        );
    }
    target.node.publish("p", "a", json!("goes on")).await;
    other.until_text(1, "data: \"goes on\"\n\n").await;
    eventually("no stream is left", || async { target.node.metric("pipecast_streams").await == 1.0 }).await;
    drop(other);
    target.assert_unharmed().await;
}

/// The same more slowly, so that each stream is opened before it is reset.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_one_by_one_leave_nothing() {
    let target = Target::start(Options::default()).await;
    let mut attacker = Http2::connect(&target.node, &[]).await;
    for stream in streams(1000) {
        attacker.send(get(stream, STREAM)).await;
        attacker.until(|frame| frame.kind == DATA && frame.stream == stream).await;
        attacker.send(cancel(stream)).await;
    }
    eventually("no stream is left", || async { target.node.metric("pipecast_streams").await == 0.0 }).await;
    drop(attacker);
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_continued_for_ever_end_the_connection() {
    let target = Target::start(Options::default()).await;
    // Empty ones cost no header space; large ones do.
    for more in [Vec::new(), header(0, "x", &"y".repeat(8000)), header(0x40, "x", "y")] {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        attacker.send(frame(HEADERS, END_STREAM, 1, &request("GET", STREAM))).await;
        let continued = frame(CONTINUATION, 0, 1, &more).repeat(100);
        assert!(flood(&mut attacker, &continued, 10_000).await, "all of it was accepted");
        let frames = attacker.rest().await;
        assert!(!frames.iter().any(|frame| frame.kind == HEADERS), "it was answered: {frames:?}");
    }
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_settings_and_pings_hold_nothing_and_nobody() {
    let target = Target::start(Options::default().set("STREAM__WRITE_TIMEOUT", "2s")).await;
    let mut reader = target.node.open("live", "").await;
    let empty_data =
        [frame(HEADERS, END_HEADERS, 1, &request("POST", "/pipelines/p/events")), frame(DATA, 0, 1, b"")].concat();
    for flood_of in [
        settings(&[(INITIAL_WINDOW, 65_535)]).repeat(1000),
        settings(&[]).repeat(1000),
        frame(PING, 0, 0, b"12345678").repeat(1000),
        frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(1000),
        // PRIORITY, and a kind that does not exist, which is to be passed over.
        frame(2, 0, 1, &[0, 0, 0, 3, 1]).repeat(1000),
        frame(0xfa, 0, 0, b"").repeat(1000),
        empty_data,
    ] {
        // It never reads what is answered.
        let mut attacker = Http2::connect(&target.node, &[]).await;
        let mut events = 0;
        for _ in 0..100 {
            if flood(&mut attacker, &flood_of, 3).await {
                break;
            }
            events += 1;
            target.node.publish("live", "a", json!(events)).await;
        }
        assert_eq!(reader.numbers(events).await, (1..=events as u64).collect::<Vec<_>>());
        assert!(target.grown_bytes() < super::KEPT_BYTES, "{} bytes", target.grown_bytes());
    }
    drop(reader);
    target.assert_unharmed().await;
}

/// The HTTP library buffers a whole answer as soon as the window opens a little, and holds it for as long as the client likes.
#[tokio::test(flavor = "multi_thread")]
async fn barely_read_answers_are_ended() {
    let target = Target::start(Options::default().set("STREAM__WRITE_TIMEOUT", "1s")).await;
    let batch = json!(vec![json!({"channel": "a", "payload": 1}); 1000]).to_string();
    let head = [request("POST", "/pipelines/p/events"), header(0, "content-type", "application/json")].concat();
    let pieces: Vec<_> = batch.as_bytes().chunks(16_000).collect();
    let mut client = Http2::connect(&target.node, &[(INITIAL_WINDOW, 1)]).await;
    client.send(frame(HEADERS, END_HEADERS, 1, &head)).await;
    for (n, piece) in pieces.iter().enumerate() {
        let flags = if n + 1 == pieces.len() { END_STREAM } else { 0 };
        client.send(frame(DATA, flags, 1, piece)).await;
    }
    client.until(|frame| frame.stream == 1 && frame.kind == DATA).await;
    client.until(|frame| frame.stream == 1 && frame.kind == RST_STREAM).await;
    drop(client);
    target.node.forget("p").await;
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_is_not_taken_is_ended_and_its_neighbours_go_on() {
    let target = Target::start(Options::default().set("STREAM__WRITE_TIMEOUT", "1s")).await;
    // No stream may be sent anything until the client opens its window.
    let mut client = Http2::connect(&target.node, &[(INITIAL_WINDOW, 0)]).await;
    client.send([get(1, STREAM), get(3, STREAM), get(5, STREAM)].concat()).await;
    client.send(frame(WINDOW_UPDATE, 0, 3, &1_000_000u32.to_be_bytes())).await;
    client.until(|frame| frame.kind == DATA && frame.stream == 3).await;
    target.node.publish("p", "a", json!(1)).await;
    let mut reset = Vec::new();
    while reset.len() < 2 {
        reset.push(client.until(|frame| frame.kind == RST_STREAM).await.stream);
    }
    reset.sort_unstable();
    assert_eq!(reset, [1, 5]);
    eventually("both count as ended for that", || async {
        target.node.metric("pipecast_streams_closed_total{reason=\"write_timeout\"}").await == 2.0
    })
    .await;
    target.node.publish("p", "a", json!("goes on")).await;
    client.until_text(3, "data: \"goes on\"\n\n").await;
    assert_eq!(target.node.metric("pipecast_streams").await, 1.0);
    drop(client);
    target.assert_unharmed().await;
}

/// The window of the whole connection is closed, so all of its streams stall.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_streams_are_closed_within_bounded_memory() {
    const STREAMS: u32 = 200;
    let target = Target::start(Options::default().set("STREAM__WRITE_TIMEOUT", "2s")).await;
    let mut attacker = Http2::connect(&target.node, &[]).await;
    attacker.send(streams(STREAMS).flat_map(|stream| get(stream, STREAM)).collect::<Vec<_>>()).await;
    eventually("all are open", || async { target.node.metric("pipecast_streams").await == f64::from(STREAMS) }).await;
    let mut grown = 0;
    for _ in 0..100 {
        target.node.publish("p", "a", json!("x".repeat(64 << 10))).await;
        grown = grown.max(target.grown_bytes());
    }
    // The log, and for each stream what the HTTP library buffers at a time.
    let most = 2 * (4 << 20) + u64::from(STREAMS) * (64 << 10) + super::KEPT_BYTES;
    assert!(grown < most, "{grown} bytes more, {most} are allowed");
    eventually("all are ended", || async {
        target.node.metric("pipecast_streams_closed_total{reason=\"write_timeout\"}").await == f64::from(STREAMS)
    })
    .await;
    drop(attacker);
    target.node.forget("p").await;
    target.assert_unharmed().await;
}

/// The HTTP library has something to say about each of them.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_pings_that_nobody_sent_fill_no_log() {
    let target = Target::start(Options::default()).await;
    let lines_before = target.node.log().lines().count();
    let mut attacker = Http2::connect(&target.node, &[]).await;
    let answers = frame(PING, ACK, 0, b"12345678").repeat(1000);
    assert!(!flood(&mut attacker, &answers, 9).await, "the connection was ended");
    // All of them are read when this is answered.
    attacker.send(get(1, "/nowhere")).await;
    attacker.until(|frame| frame.kind == HEADERS).await;
    let log = target.node.log();
    assert_eq!(log.lines().count(), lines_before, "{} bytes were logged", log.len());
    drop(attacker);
    target.assert_unharmed().await;
}

/// One long header, remembered by the decoder and named ten thousand times: 10 KB on the wire, 40 MB unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_unpack_to_megabytes_are_refused() {
    let target = Target::start(Options::default()).await;
    for repeated in [10_000, 16] {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        let bomb = [request("GET", STREAM), header(0x40, "x", &"y".repeat(4000)), vec![0xbe; repeated]].concat();
        attacker.raw.try_send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)).await;
        loop {
            match attacker.next().await {
                Some(frame) if frame.kind == HEADERS => {
                    assert_ne!(frame.payload[0], STATUS_200);
                    break;
                }
                Some(frame) if matches!(frame.kind, RST_STREAM | GOAWAY) => break,
                Some(_) => {}
                None => break,
            }
        }
        assert!(target.grown_bytes() < super::KEPT_BYTES, "{} bytes", target.grown_bytes());
        assert_eq!(target.node.metric("pipecast_streams").await, 0.0, "it was answered with a stream");
    }
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_http2_streams_are_refused_and_others_go_on() {
    const LIMIT: u32 = 10;
    let target =
        Target::start(Options::default().set("LIMITS__HTTP2_MAX_CONCURRENT_STREAMS", &LIMIT.to_string())).await;
    let mut client = Http2::connect(&target.node, &[]).await;
    client.send(streams(50).flat_map(|stream| get(stream, STREAM)).collect::<Vec<_>>()).await;
    let mut refused = Vec::new();
    while refused.len() < 40 {
        let frame = client.until(|frame| frame.kind == RST_STREAM).await;
        // REFUSED_STREAM: nothing was done, and the client may ask again.
        assert_eq!(frame.payload, 7u32.to_be_bytes(), "{frame:?}");
        refused.push(frame.stream);
    }
    assert_eq!(refused, streams(50).skip(10).collect::<Vec<_>>());
    eventually("the others are open", || async { target.node.metric("pipecast_streams").await == f64::from(LIMIT) })
        .await;
    target.node.publish("p", "a", json!("goes on")).await;
    client.until_text(1, "data: \"goes on\"\n\n").await;
    drop(client);
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_protocol_end_the_connection() {
    let target = Target::start(Options::default()).await;
    let most = (1u32 << 31) - 1;
    for wrong in [
        frame(DATA, 0, 1, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, b""),
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &request("GET", STREAM)),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, &request("GET", STREAM)),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40]),
        frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[255]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        settings(&[(INITIAL_WINDOW, u32::MAX)]),
        frame(PING, 0, 0, b"123"),
        frame(PING, 0, 1, b"12345678"),
        frame(WINDOW_UPDATE, 0, 0, &most.to_be_bytes()),
        frame(WINDOW_UPDATE, 0, 0, &0u32.to_be_bytes()),
        frame(RST_STREAM, 0, 7, &8u32.to_be_bytes()),
        // PUSH_PROMISE, which only servers send, and a length beyond what was agreed upon.
        frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
        vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ] {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        attacker.raw.try_send(&wrong).await;
        let frames = attacker.rest().await;
        assert!(!frames.iter().any(|frame| frame.kind == HEADERS), "{wrong:?} was answered: {frames:?}");
    }
    target.assert_unharmed().await;
}

/// Bytes that are invalid in an HTTP/1.1 header could split a request in a proxy that translates.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_would_split_a_request_are_refused() {
    let target = Target::start(Options::default()).await;
    let with = |extra: Vec<u8>| [request("GET", STREAM), extra].concat();
    for block in [
        with(header(0, "x", "y\r\nz: 1")),
        with(header(0, "x", "y\0")),
        with(header(0, "x\r\ny", "z")),
        with(header(0, "X", "upper case")),
        with(header(0, "x y", "z")),
        with(header(0, "connection", "close")),
        with(header(0, "transfer-encoding", "chunked")),
        with(header(0, ":path", "/second")),
        with(header(0, ":unknown", "x")),
        request("GET", "/pipelines/p/sse HTTP/1.1\r\nX: y"),
        request("GET", "pipelines"),
        request("GET", ""),
        request("GET\r\n", STREAM),
        [vec![0x86], header(0, ":path", STREAM)].concat(),
    ] {
        let mut attacker = Http2::connect(&target.node, &[]).await;
        attacker.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        let end = attacker.until(|frame| matches!(frame.kind, RST_STREAM | GOAWAY | HEADERS)).await;
        assert!(end.kind != HEADERS || end.payload[0] != STATUS_200, "{block:?}: {end:?}");
        assert_eq!(target.node.metric("pipecast_streams").await, 0.0, "{block:?} opened a stream");
    }
    target.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_http2_connections_close_unless_they_stream() {
    let options = Options::default().set("LIMITS__REQUEST_TIMEOUT", "500ms").set("LIMITS__IDLE_TIMEOUT", "500ms");
    let target = Target::start(options).await;
    let mut reader = Http2::connect(&target.node, &[]).await;
    reader.send(get(1, STREAM)).await;
    reader.until(|frame| frame.kind == DATA).await;
    let mut idle = Http2::connect(&target.node, &[]).await;
    idle.send(get(1, "/nowhere")).await;
    // It never answers the ping that goes with it.
    let frames = idle.rest().await;
    let position = |kind| frames.iter().position(|frame| frame.kind == kind);
    assert!(position(HEADERS) < position(GOAWAY) && position(GOAWAY).is_some(), "{frames:?}");
    target.node.publish("p", "a", json!("goes on")).await;
    reader.until_text(1, "data: \"goes on\"\n\n").await;
    drop((reader, idle));
    target.assert_unharmed().await;
}
