//! Frames: events as SSE text, made once and shared by every connection.
//!
//! A frame is exactly `id: <id>\nevent: <channel>\ndata: <payload>\n\n`. Text from the store is parsed as strictly as a
//! publisher's request: a damaged or hostile entry is skipped, and never adds a line to a stream. No I/O.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::event::EventId;
use crate::sse::gzip::{self, Checksum};

/// One event as SSE text, ending in a blank line. Cheap to clone: the text is shared.
///
/// Kept wrapped as an HTTP/1.1 chunk (RFC 9112, 7.1), the form in which most connections send it.
#[derive(Clone, Debug)]
pub struct Frame {
    id: EventId,
    chunk: Bytes,
    /// Bytes of the chunk before the text.
    text_starts: u8,
    /// The channel's offset in the text.
    channel_starts: u16,
    channel_bytes: u8,
    /// The compressed form, made for the first connection that needs it and shared by all clones.
    compressed: Option<Arc<OnceLock<Compressed>>>,
}

/// A frame as a piece of gzip streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// Wrapped as an HTTP/1.1 chunk.
    chunk: Bytes,
    piece_starts: u8,
    checksum: Checksum,
}

/// Text that is not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of this broker")]
pub struct InvalidFrame;

impl Frame {
    /// Makes the frame of an event from its id and [`crate::event::Event::body`].
    ///
    /// # Errors
    /// If `body` is not an event's body.
    pub fn new(id: EventId, body: &[u8]) -> Result<Self, InvalidFrame> {
        let mut text = format!("id: {id}\n").into_bytes();
        text.extend_from_slice(body);
        Self::parse(text.into())
    }

    /// Parses a frame strictly.
    ///
    /// # Errors
    /// If `text` is not exactly one frame.
    pub fn parse(text: Bytes) -> Result<Self, InvalidFrame> {
        let mut rest = text.clone();
        let frame = Self::take(&mut rest)?;
        if rest.is_empty() { Ok(frame) } else { Err(InvalidFrame) }
    }

    /// Parses and removes the first frame of `text`.
    ///
    /// # Errors
    /// If `text` does not begin with a frame. The state of `text` is then unspecified.
    pub fn take(text: &mut Bytes) -> Result<Self, InvalidFrame> {
        let mut offset = 0;
        let mut line = |prefix: &[u8]| -> Result<(usize, usize), InvalidFrame> {
            let rest = &text[offset..];
            let length = memchr::memchr(b'\n', rest).ok_or(InvalidFrame)?;
            if !rest[..length].starts_with(prefix) || memchr::memchr2(b'\r', 0, &rest[..length]).is_some() {
                return Err(InvalidFrame);
            }
            let range = (offset + prefix.len(), offset + length);
            offset += length + 1;
            Ok(range)
        };
        let id = line(b"id: ")?;
        let channel = line(b"event: ")?;
        let data = line(b"data: ")?;
        let end = line(b"")?;
        if end.0 != end.1 || data.0 == data.1 {
            return Err(InvalidFrame);
        }
        let text = text.split_to(offset);
        let id = std::str::from_utf8(&text[id.0..id.1]).map_err(|_| InvalidFrame)?;
        let id: EventId = id.parse().map_err(|_| InvalidFrame)?;
        // Events count from 1. There is no id just before 0, where a log could begin.
        if id.seq == 0 {
            return Err(InvalidFrame);
        }
        let channel_bytes = u8::try_from(channel.1 - channel.0).map_err(|_| InvalidFrame)?;
        let channel_starts = u16::try_from(channel.0).map_err(|_| InvalidFrame)?;
        std::str::from_utf8(&text).map_err(|_| InvalidFrame)?;
        let (chunk, text_starts) = wrap(&text);
        Ok(Self { id, chunk, text_starts, channel_starts, channel_bytes, compressed: None })
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The whole frame as a client receives it.
    pub fn text(&self) -> &[u8] {
        &self.chunk[usize::from(self.text_starts)..self.chunk.len() - CHUNK_END.len()]
    }

    /// The same text, without copying it.
    pub fn shared_text(&self) -> Bytes {
        self.chunk.slice(usize::from(self.text_starts)..self.chunk.len() - CHUNK_END.len())
    }

    /// The frame as one chunk of an HTTP/1.1 body.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// Adds room for the compressed form, which all later clones share.
    pub fn compressible(mut self) -> Self {
        self.compressed.get_or_insert_default();
        self
    }

    /// The compressed form. The first call makes it and calls `made`; other threads wait for it, microseconds for most frames
    /// and a millisecond for 256 KiB.
    pub fn compressed(&self, made: impl FnOnce()) -> Compressed {
        let make = || {
            made();
            let (chunk, piece_starts) = wrap(&gzip::compress(self.text()));
            Compressed { chunk, piece_starts, checksum: Checksum::of(self.text()) }
        };
        match &self.compressed {
            Some(compressed) => compressed.get_or_init(make).clone(),
            None => make(),
        }
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        let starts = usize::from(self.channel_starts);
        self.str(starts, starts + usize::from(self.channel_bytes))
    }

    /// The payload: compact JSON, unless something else wrote to the store's list.
    pub fn payload(&self) -> &str {
        let starts = usize::from(self.channel_starts) + usize::from(self.channel_bytes) + "\ndata: ".len();
        self.str(starts, self.text().len() - "\n\n".len())
    }

    fn str(&self, starts: usize, ends: usize) -> &str {
        // Parsing has proved that the text is UTF-8 and that lines begin and end with ASCII.
        std::str::from_utf8(&self.text()[starts..ends]).unwrap_or_default()
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        // The other fields follow from the chunk.
        self.chunk == other.chunk
    }
}

impl Eq for Frame {}

impl Compressed {
    /// The piece as one chunk of an HTTP/1.1 body.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// The piece, without copying it.
    pub fn shared_piece(&self) -> Bytes {
        self.chunk.slice(usize::from(self.piece_starts)..self.chunk.len() - CHUNK_END.len())
    }

    /// The checksum of the frame's text.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }
}

const CHUNK_END: &[u8] = b"\r\n";

/// Text as one chunk of an HTTP/1.1 body, and the text's offset in it.
pub fn wrap(text: &[u8]) -> (Bytes, u8) {
    let size = format!("{:x}\r\n", text.len());
    let mut chunk = Vec::with_capacity(size.len() + text.len() + CHUNK_END.len());
    chunk.extend_from_slice(size.as_bytes());
    chunk.extend_from_slice(text);
    chunk.extend_from_slice(CHUNK_END);
    // At most 16 digits and the line break.
    (chunk.into(), u8::try_from(size.len()).unwrap_or(u8::MAX))
}

/// An entry of a store's list: the id of the event before and a line feed, then the event's frame.
///
/// Without a frame it is what a deleted history leaves: only an id, so that ids continue from there. The first event of a
/// history names no event but a moment, see [`History::floor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The id that is named.
    pub before: EventId,
    /// The event.
    pub frame: Option<Frame>,
}

impl Entry {
    /// Parses and removes the first entry of `text`.
    ///
    /// # Errors
    /// If `text` does not begin with an entry, or its event cannot follow the one that is named. The state of `text` is then
    /// unspecified.
    pub fn take(text: &mut Bytes) -> Result<Self, InvalidFrame> {
        let line = memchr::memchr(b'\n', text).ok_or(InvalidFrame)?;
        let before = text.split_to(line + 1);
        let before: EventId =
            std::str::from_utf8(&before[..line]).ok().and_then(|id| id.parse().ok()).ok_or(InvalidFrame)?;
        if text.is_empty() {
            return Ok(Self { before, frame: None });
        }
        let frame = Frame::take(text)?;
        if !before.is_followed_by(frame.id()) {
            return Err(InvalidFrame);
        }
        Ok(Self { before, frame: Some(frame) })
    }

    /// Parses an entry strictly.
    ///
    /// # Errors
    /// If `text` is not exactly one entry.
    pub fn parse(mut text: Bytes) -> Result<Self, InvalidFrame> {
        let entry = Self::take(&mut text)?;
        if text.is_empty() { Ok(entry) } else { Err(InvalidFrame) }
    }

    /// The entry as text.
    pub fn text(before: EventId, frame: Option<&Frame>) -> Bytes {
        let mut text = format!("{before}\n").into_bytes();
        text.extend_from_slice(frame.map_or(&[], Frame::text));
        text.into()
    }
}

/// A pipeline's history as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The event before the first frame, as that names it. Without frames, the pipeline's newest id.
    ///
    /// The first event of a pipeline has none before it and names a moment, `<ms>-0`: the store has lost no data since then, so
    /// no event of this pipeline can have been lost between that moment and the first frame, unless it expired. Without any
    /// event, the same moment as of the read.
    pub floor: EventId,
    /// The newest frames, oldest first, each named by the next as the event before.
    pub frames: Vec<Frame>,
    /// What the store knew about itself when it was read.
    pub loss: LossRecord,
}

/// What a store knows about the data that it may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossRecord {
    /// It has lost no data since this moment, in milliseconds of its clock, except what expired.
    pub since_ms: u64,
    /// Its clock, now.
    pub now_ms: u64,
    /// How long a history without readers is kept after its last event.
    pub ttl_ms: u64,
}

impl Default for LossRecord {
    /// A store that has never lost anything.
    fn default() -> Self {
        Self { since_ms: 0, now_ms: 0, ttl_ms: u64::MAX }
    }
}

impl LossRecord {
    /// Whether no history that had events at `then` or later can have expired before `now`.
    pub fn spans(&self, then: u64, now: u64) -> bool {
        // A store that has just begun is a millisecond ahead of its clock.
        now.saturating_add(1) < then.saturating_add(self.ttl_ms)
    }
}

impl History {
    /// Parses the entries of a store's list, oldest first.
    ///
    /// Entries that are not in sequence, or of another form, were not written by this broker. Only the entries after the last of
    /// those are kept.
    pub fn from_entries(entries: impl IntoIterator<Item = Bytes>, loss: LossRecord) -> Self {
        let nothing = Self { floor: EventId::at(loss.since_ms), frames: Vec::new(), loss };
        let mut history = nothing.clone();
        for entry in entries {
            match Entry::parse(entry) {
                Ok(Entry { before, frame }) => {
                    let is_next = history.frames.last().is_some_and(|newest| newest.id() == before);
                    if !is_next || frame.is_none() {
                        history = Self { floor: before, ..nothing.clone() };
                    }
                    history.frames.extend(frame);
                }
                Err(InvalidFrame) => history = nothing.clone(),
            }
        }
        history
    }

    /// The newest event's id. If there never was one, the moment of the read: the resume point before the next one.
    pub fn newest(&self) -> EventId {
        match self.frames.last() {
            Some(newest) => newest.id(),
            None if self.floor.is_beginning() => EventId::at(self.floor.ms.max(self.loss.now_ms)),
            None => self.floor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, EventLimits};
    use futures_util::StreamExt;
    use proptest::prelude::*;

    const LIMITS: EventLimits = EventLimits { max_event_size: 1 << 20, max_batch_events: 1000, max_json_depth: 128 };

    fn frame(ms: u64, seq: u64, channel: &str, payload: &str) -> Frame {
        Frame::new(EventId { ms, seq }, format!("event: {channel}\ndata: {payload}\n\n").as_bytes()).unwrap()
    }

    #[test]
    fn frame_has_its_parts() {
        let frame = frame(17, 3, "nämes", r#"{"name":"Luke"}"#);
        assert_eq!(frame.chunk(), &[b"2e\r\n", frame.text(), b"\r\n"].concat());
        assert_eq!(frame.text(), "id: 17-3\nevent: nämes\ndata: {\"name\":\"Luke\"}\n\n".as_bytes());
        assert_eq!((frame.channel(), frame.payload()), ("nämes", r#"{"name":"Luke"}"#));
    }

    #[test]
    fn only_whole_frames_are_parsed() {
        for bad in [
            "",
            "\n\n",
            "id: 1-1\n\n",
            "id: 1-1\nevent: a\ndata: 1\n",
            "id: 1-1\nevent: a\ndata: 1\n\nx",
            "id: 1-1\nevent: a\ndata: \n\n",
            "id: x\nevent: a\ndata: 1\n\n",
            "id: 1-0\nevent: a\ndata: 1\n\n",
            "id: 1-1\ndata: 1\nevent: a\n\n",
            "id: 1-1\nevent: a\ndata: 1\ndata: 2\n\n",
            "id: 1-1\nevent: a\rdata: 2\ndata: 1\n\n",
            "id: 1-1\nevent: a\ndata: 1\0\n\n",
            "event: a\nid: 1-1\ndata: 1\n\n",
        ] {
            assert_eq!(Frame::parse(Bytes::from_static(bad.as_bytes())), Err(InvalidFrame), "{bad:?}");
        }
        assert!(Frame::parse(Bytes::from_static(b"id: 1-1\nevent: a\ndata: \"\xff\"\n\n")).is_err());
    }

    #[test]
    fn entry_names_the_event_before() {
        let read = |text: &'static str| Entry::parse(Bytes::from_static(text.as_bytes()));
        let second = frame(10, 2, "a", "1");
        let entry = Entry::text(EventId { ms: 9, seq: 1 }, Some(&second));
        assert_eq!(entry, "9-1\nid: 10-2\nevent: a\ndata: 1\n\n");
        assert_eq!(Entry::parse(entry), Ok(Entry { before: EventId { ms: 9, seq: 1 }, frame: Some(second) }));
        assert_eq!(read("9-1\n"), Ok(Entry { before: EventId { ms: 9, seq: 1 }, frame: None }));
        for bad in [
            "",
            "9-1",
            "id: 10-2\nevent: a\ndata: 1\n\n",
            "\nid: 10-2\nevent: a\ndata: 1\n\n",
            "9-2\nid: 10-2\nevent: a\ndata: 1\n\n",
            "11-1\nid: 10-2\nevent: a\ndata: 1\n\n",
            "9-1\nid: 10-2\nevent: a\ndata: 1\n\n\n",
            "9-1\n\n",
        ] {
            assert_eq!(read(bad), Err(InvalidFrame), "{bad:?}");
        }
    }

    #[test]
    fn entries_after_the_damage_are_kept() {
        let at = |seq| EventId { ms: 10, seq };
        let entries: Vec<_> = (1..=4).map(|seq| Entry::text(at(seq - 1), Some(&frame(10, seq, "a", "1")))).collect();
        let loss = LossRecord { since_ms: 3, now_ms: 20, ttl_ms: 5 };
        let read = |entries: Vec<Bytes>| History::from_entries(entries, loss);

        let whole = read(entries.clone());
        assert_eq!((whole.floor, whole.frames.len()), (at(0), 4));

        let damaged = read(vec![entries[0].clone(), "rubbish".into(), entries[2].clone(), entries[3].clone()]);
        assert_eq!((damaged.floor, damaged.frames.len()), (at(2), 2));

        let with_hole = read(vec![entries[0].clone(), entries[2].clone()]);
        assert_eq!((with_hole.floor, with_hole.frames.len()), (at(2), 1));

        // The number is the next, but not of the same history.
        let other = Entry::text(EventId { ms: 9, seq: 2 }, Some(&frame(12, 3, "a", "1")));
        let met = read(vec![entries[0].clone(), entries[1].clone(), other]);
        assert_eq!((met.floor, met.frames.len()), (EventId { ms: 9, seq: 2 }, 1));

        let marked = read(vec![Entry::text(at(2), None), entries[2].clone()]);
        assert_eq!((marked.floor, marked.frames.len()), (at(2), 1));
        let forgotten = read(vec![Entry::text(at(2), None)]);
        assert_eq!((forgotten.floor, forgotten.newest()), (at(2), at(2)));

        let nothing = read(vec![entries[0].clone(), "rubbish".into()]);
        assert_eq!((nothing.floor, nothing.newest(), nothing.loss), (EventId::at(3), EventId::at(20), loss));
    }

    /// What a client dispatches, according to a parser by other authors.
    fn dispatched(stream: Vec<u8>, cut: usize) -> Vec<(String, String, String)> {
        let cut = cut.min(stream.len());
        let pieces = [stream[..cut].to_vec(), stream[cut..].to_vec()];
        let pieces = futures_util::stream::iter(pieces.map(Ok::<_, std::io::Error>));
        let events = eventsource_stream::EventStream::new(pieces).map(|event| {
            let event = event.unwrap();
            (event.id, event.event, event.data)
        });
        futures_util::FutureExt::now_or_never(events.collect()).unwrap()
    }

    proptest! {
        #[test]
        fn clients_dispatch_what_was_published(
            events in prop::collection::vec(("[^\r\n\0]{1,40}", any::<String>()), 1..8),
            cut in 0usize..2000,
        ) {
            let events: Vec<_> = events.into_iter().filter(|(c, _)| crate::event::check_publishable(c).is_ok()).collect();
            prop_assume!(!events.is_empty());
            let body = serde_json::Value::from_iter(
                events.iter().map(|(channel, payload)| serde_json::json!({"channel": channel, "payload": payload})),
            );
            let batch = Batch::from_json(body.to_string().as_bytes(), &LIMITS).unwrap();
            let mut stream = Vec::new();
            for (event, seq) in batch.events.iter().zip(1..) {
                let frame = Frame::new(EventId { ms: 1_700_000_000_000, seq }, event.body()).unwrap();
                prop_assert_eq!(&Frame::parse(frame.shared_text()).unwrap(), &frame);
                stream.extend_from_slice(frame.text());
            }
            let expected: Vec<_> = events.iter().zip(1..).map(|((channel, payload), seq)| {
                (format!("1700000000000-{seq}"), channel.clone(), serde_json::to_string(payload).unwrap())
            }).collect();
            prop_assert_eq!(dispatched(stream, cut), expected);
        }

        #[test]
        fn no_bytes_from_the_store_can_break_a_line(text in prop::collection::vec(any::<u8>(), 0..200), seed in 0usize..4) {
            let mut entry = match seed {
                0 => Vec::new(),
                1 => b"id: 1-1\n".to_vec(),
                2 => b"id: 1-1\nevent: a\n".to_vec(),
                _ => b"id: 1-1\nevent: a\ndata: ".to_vec(),
            };
            entry.extend_from_slice(&text);
            entry.extend_from_slice(b"\n\n");
            if let Ok(frame) = Frame::parse(entry.into()) {
                let lines = frame.text().split(|byte| *byte == b'\n').count();
                prop_assert_eq!(lines, 5);
                prop_assert!(!frame.text().contains(&b'\r'));
            }
        }
    }
}
