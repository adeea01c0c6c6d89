//! The floor: the minimum cost of a delivery. One thread with one epoll loop writes the bytes of each event to every socket with
//! `write()`, and nothing else: no history, no ids to resume from, no limits, no care for slow subscribers.
//!
//! `cargo build --release --example floor && target/release/examples/floor 127.0.0.1:7300`

#![allow(clippy::unwrap_used, reason = "a yardstick, not a server")]

use std::collections::HashMap;
use std::io::{Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n:hi\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";

fn main() {
    let address = std::env::args().nth(1).expect("an address, such as 127.0.0.1:7300");
    let mut poll = Poll::new().unwrap();
    let mut listener = TcpListener::bind(address.parse().unwrap()).unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut sockets: Slab<(TcpStream, Vec<u8>)> = Slab::new();
    let mut readers: HashMap<String, Vec<usize>> = HashMap::new();
    let mut events = Events::with_capacity(1024);
    let mut id = 0u64;
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    let _ = socket.set_nodelay(true);
                    let entry = sockets.vacant_entry();
                    poll.registry().register(&mut socket, Token(entry.key()), Interest::READABLE).unwrap();
                    entry.insert((socket, Vec::new()));
                }
                continue;
            }
            let key = event.token().0;
            let Some((socket, request)) = sockets.get_mut(key) else { continue };
            let mut buffer = [0; 4096];
            let is_open = loop {
                match socket.read(&mut buffer) {
                    Ok(0) => break false,
                    Ok(length) => request.extend_from_slice(&buffer[..length]),
                    Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
                }
            };
            if !is_open {
                sockets.remove(key);
                readers.values_mut().for_each(|keys| keys.retain(|other| *other != key));
                continue;
            }
            if let Some((pipeline, payload, length)) = parse(request) {
                request.drain(..length);
                match payload {
                    None => {
                        socket.write_all(HEAD).unwrap();
                        readers.entry(pipeline).or_default().push(key);
                    }
                    Some(payload) => {
                        id += 1;
                        let _ = socket.write_all(ACCEPTED);
                        let text = format!("id: 1-{id}\nevent: bench\ndata: {payload}\n\n");
                        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                        for reader in readers.get(&pipeline).into_iter().flatten() {
                            if let Some((socket, _)) = sockets.get_mut(*reader) {
                                let _ = socket.write(chunk.as_bytes());
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A complete request: its pipeline, its payload if it publishes, and its length.
fn parse(request: &[u8]) -> Option<(String, Option<String>, usize)> {
    let text = std::str::from_utf8(request).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let pipeline = head.split('/').nth(2)?.to_owned();
    if head.starts_with("GET") {
        return Some((pipeline, None, head.len() + 4));
    }
    let length: usize = head.to_lowercase().split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
    let body = rest.get(..length)?;
    let payload = body.split_once("\"payload\":")?.1.strip_suffix('}')?;
    Some((pipeline, Some(payload.to_owned()), head.len() + 4 + length))
}
