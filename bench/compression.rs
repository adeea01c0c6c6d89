//! What `stream.compression` saves and costs: for payloads of several sizes, the bytes of one event on the wire with and without it,
//! and the time to compress the event, which each node spends once for all its subscribers.
//!
//! `cargo run --release --example compression`

#![allow(clippy::unwrap_used, reason = "a yardstick, not a server")]

use std::hint::black_box;

use pipecast::event::EventId;
use pipecast::sse::frame::Frame;
use rustix::time::{ClockId, clock_gettime};

const SIZES: [usize; 4] = [128, 1 << 10, 16 << 10, 256 << 10];

/// How many seconds of this thread's CPU time each size is measured for.
const SECONDS: f64 = 1.0;

fn main() {
    println!("| payload, bytes | on the wire, bytes | compressed | of it | us to compress |");
    println!("|---|---|---|---|---|");
    for size in SIZES {
        // Different events, so that caches do not help.
        let frames: Vec<_> = (1..=64).map(|number| frame(number, &payload(size))).collect();
        let plain: usize = frames.iter().map(|frame| frame.chunk().len()).sum();
        let compressed: usize = frames.iter().map(|frame| frame.compressed(|| ()).chunk().len()).sum();
        let (began, mut count) = (seconds(), 0);
        while seconds() - began < SECONDS {
            for frame in &frames {
                // Without room to cache the result, it is compressed again each time.
                black_box(frame.compressed(|| ()));
            }
            count += frames.len();
        }
        let microseconds = (seconds() - began) * 1e6 / count as f64;
        let (plain, compressed) = (plain / frames.len(), compressed / frames.len());
        let share = compressed as f64 / plain as f64 * 100.0;
        println!("| {size} | {plain} | {compressed} | {share:.0} % | {microseconds:.0} |");
    }
}

/// CPU time of this thread: other load on the machine hardly matters.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn frame(seq: u64, payload: &str) -> Frame {
    let id = EventId { ms: 1_760_000_000_000 + seq, seq };
    Frame::new(id, format!("event: prices\ndata: {payload}\n\n").as_bytes()).unwrap()
}

/// A list of trades as JSON of at most this many bytes.
fn payload(size: usize) -> String {
    let mut list = format!("[{}", trade());
    loop {
        let trade = trade();
        if list.len() + trade.len() + 2 > size {
            return list + "]";
        }
        list += ",";
        list += &trade;
    }
}

fn trade() -> String {
    let any = |list: &[&'static str]| list[rand::random_range(0..list.len())];
    let (id, symbol, side) =
        (rand::random_range(10_000_000..100_000_000), any(&["ACME", "GLOBEX", "INITECH"]), any(&["buy", "sell"]));
    let (price, count) = (rand::random_range(1000..99_999), rand::random_range(1..500));
    let (minute, second) = (rand::random_range(0..60), rand::random_range(0..60));
    format!(
        r#"{{"id":{id},"symbol":"{symbol}","side":"{side}","price":"{}.{:02}","count":{count},"at":"2026-11-22T10:{minute:02}:{second:02}Z"}}"#,
        price / 100,
        price % 100,
    )
}
