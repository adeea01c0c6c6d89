//! HTTP/2 frame by frame (RFC 9113), for what no client library would send.

use super::node::Node;
use super::raw::Raw;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW: u16 = 4;

/// A frame as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection that speaks HTTP/2 with prior knowledge.
pub struct Http2 {
    pub raw: Raw,
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        values.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A number in HPACK (RFC 7541, 5.1) after a byte whose lowest bits are free for it.
fn number(first: u8, bits: u8, value: usize) -> Vec<u8> {
    let most = (1usize << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let (mut bytes, mut rest) = (vec![first | u8::try_from(most).unwrap()], value - most);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [number(0, 7, text.len()), text.as_bytes().to_vec()].concat()
}

/// A header as HPACK, `first` 0 for one that is not remembered, 0x40 for one that is.
pub fn header(first: u8, name: &str, value: &str) -> Vec<u8> {
    [vec![first], text(name), text(value)].concat()
}

/// `:method`, `:scheme`, `:authority` and `:path` of a request as HPACK.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    let method = if method == "GET" { vec![0x82] } else { header(0, ":method", method) };
    [method, vec![0x86], header(0, ":authority", "x"), header(0, ":path", path)].concat()
}

/// A request without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", path))
}

impl Http2 {
    /// Says hello with these settings.
    pub async fn connect(node: &Node, values: &[(u16, u32)]) -> Self {
        let mut raw = Raw::connect(node).await;
        raw.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings(values)[..]].concat()).await;
        Self { raw }
    }

    pub async fn send(&mut self, frames: impl AsRef<[u8]>) {
        self.raw.send(frames).await;
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            let bytes = &self.raw.received;
            if bytes.len() >= 9 {
                let length = 9 + u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
                if bytes.len() >= length {
                    let whole: Vec<u8> = self.raw.received.drain(..length).collect();
                    let stream = u32::from_be_bytes([whole[5], whole[6], whole[7], whole[8]]);
                    let frame = Received { kind: whole[3], flags: whole[4], stream, payload: whole[9..].to_vec() };
                    if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                        self.raw.try_send(self::frame(SETTINGS, ACK, 0, &[])).await;
                    }
                    return Some(frame);
                }
            }
            if self.raw.read_some().await == 0 {
                return None;
            }
        }
    }

    /// Frames up to the first that is meant, which must come.
    pub async fn until(&mut self, is_meant: impl Fn(&Received) -> bool) -> Received {
        loop {
            let frame = self.next().await.expect("a frame, not the end of the connection");
            if is_meant(&frame) {
                return frame;
            }
        }
    }

    /// Frames up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<Received> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Reads until the body of this stream contains `text`, giving the flow-control window back.
    pub async fn until_text(&mut self, stream: u32, text: &str) {
        let mut body = String::new();
        while !body.contains(text) {
            let data = self.until(|frame| frame.kind == DATA && frame.stream == stream).await;
            body.push_str(&String::from_utf8_lossy(&data.payload));
            let taken = u32::try_from(data.payload.len()).unwrap().to_be_bytes();
            self.send([frame(WINDOW_UPDATE, 0, 0, &taken), frame(WINDOW_UPDATE, 0, stream, &taken)].concat()).await;
        }
    }
}
