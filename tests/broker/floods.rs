//! A server whose responses never end costs the commands only a bounded amount of memory and time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cli::{err, out, pipecast, run};

/// Upper bound of what the server sends, so that a command without a bound fails instead of filling the machine.
const MOST: usize = 400 << 20;

/// Longer than any block of a node, which has an event of 64 MiB at most, and what is on its way besides.
const ENOUGH: usize = 150 << 20;

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n";

/// Answers GET with a head, a beginning, and then the same piece again and again; POST as a node does whose event is `1-1`.
struct Flood {
    url: String,
    sent: Arc<AtomicUsize>,
}

impl Flood {
    fn start(head: &str, beginning: &[u8], piece: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (start, piece) = ([head.as_bytes(), b"\r\n", beginning].concat(), piece.to_vec());
        let sent = Arc::<AtomicUsize>::default();
        let count = sent.clone();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (start, piece, count) = (start.clone(), piece.clone(), count.clone());
                // That the client leaves is what it should do.
                std::thread::spawn(move || serve(socket, &start, &piece, &count).ok());
            }
        });
        Self { url, sent }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

fn serve(mut socket: TcpStream, start: &[u8], piece: &[u8], count: &AtomicUsize) -> std::io::Result<()> {
    let mut request = vec![0; 64 << 10];
    let length = socket.read(&mut request)?;
    if !request[..length].starts_with(b"GET ") {
        let answer = "{\"id\":\"1-1\"}";
        write!(
            socket,
            "HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        )?;
        // Reset, the client might not see it.
        while socket.read(&mut request)? > 0 {}
        return Ok(());
    }
    socket.write_all(start)?;
    while count.fetch_add(piece.len(), Ordering::SeqCst) < MOST {
        socket.write_all(piece)?;
    }
    Ok(())
}

/// The head of a stream of gzip, and a piece of it that makes so many bytes of one line, again and again.
fn bomb(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let mut flushed = |bytes: usize| {
        encoder.write_all(&vec![b'x'; bytes]).unwrap();
        encoder.flush().unwrap();
        std::mem::take(encoder.get_mut())
    };
    // What the second piece refers back to are the same bytes, whichever came before it.
    (flushed(64 << 10), flushed(bytes))
}

#[test]
fn line_without_an_end_is_not_collected() {
    for beginning in ["data: ", "event: ", "id: ", "data: x\ndata: y\n", "unknown: "] {
        let piece = if beginning.ends_with('\n') { "data: x\n".repeat(8 << 10) } else { "x".repeat(64 << 10) };
        let flood = Flood::start(STREAM, beginning.as_bytes(), piece.as_bytes());
        for command in [&["tail", "p"][..], &["demo", "--readers", "1"]] {
            let before = flood.sent();
            let output = run(pipecast(command).args(["--url", &flood.url]), "");
            assert_eq!(output.status.code(), Some(1), "{command:?} {beginning:?}: {}", err(&output));
            assert!(err(&output).contains("not a Pipecast stream"), "{command:?} {beginning:?}: {}", err(&output));
            assert!(flood.sent() - before < ENOUGH, "{command:?} {beginning:?}: {}", flood.sent() - before);
        }
    }
}

#[test]
fn doctor_has_an_end_whatever_a_stream_brings() {
    let line = "x".repeat(64 << 10);
    let comments = ":\n\n".repeat(8 << 10);
    let pieces: String = (0..5).map(|n| format!("id: 1-{n}\ndata: {n}\n\n")).collect();
    let strangers = "id: 9-9\ndata: 9\n\n".repeat(1 << 10);
    let (packed, again) = bomb(64 << 20);
    let zipped = format!("{STREAM}Content-Encoding: gzip\r\n");
    for (case, head, beginning, piece) in [
        ("a line", STREAM, b"data: ".to_vec(), line.as_bytes()),
        ("comments", STREAM, Vec::new(), comments.as_bytes()),
        ("events of others", STREAM, format!("retry: 1\n\n{pieces}").into_bytes(), strangers.as_bytes()),
        ("a bomb", &zipped, packed, &again),
    ] {
        let flood = Flood::start(head, &beginning, piece);
        let output = run(&mut pipecast(&["doctor", &flood.url, "--idle-for", "1s"]), "");
        assert_eq!(output.status.code(), Some(1), "{case}: {} {}", out(&output), err(&output));
        assert!(out(&output).contains("FAIL"), "{case}: {}", out(&output));
        assert!(flood.sent() < MOST, "{case}: {}", flood.sent());
    }
}

#[test]
fn stream_sets_no_resume_point_that_could_not_be_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for _ in 0..3 {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = vec![0; 64 << 10];
            let length = socket.read(&mut request).unwrap();
            heads.push(String::from_utf8_lossy(&request[..length]).to_lowercase());
            let id = "9".repeat(20 << 10);
            // The last one that could be sent counts.
            let body = format!("id: 1-1\ndata: 1\n\nid: \u{1}\ndata: 2\n\nid: {id}\ndata: 3\n\nretry: 0\ndata: 4\n\n");
            write!(socket, "{STREAM}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
        heads
    });
    let output = run(&mut pipecast(&["tail", "p", "--url", &url, "--count", "12"]), "");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let heads = server.join().unwrap();
    assert!(!heads[0].contains("last-event-id"), "{heads:?}");
    assert!(heads[1..].iter().all(|head| head.contains("\r\nlast-event-id: 1-1\r\n")), "{heads:?}");
}
