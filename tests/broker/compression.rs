//! Streams as gzip (`stream.compression`): the same text, at once, and compressed once for all.

use std::io::{Read, Write};

use flate2::{read, write};
use serde_json::json;

use crate::support::node::{Node, Options, both_ways};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, eventually, http};

/// What an empty stored block ends with.
const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];

const ACCEPT: &str = "Accept-Encoding: gzip, deflate, br";

fn compressing_both_ways() -> [Options; 2] {
    both_ways().map(|way| way.set("STREAM__COMPRESSION", "true"))
}

/// A reader that gets gzip.
struct Reader(Raw);

impl Reader {
    async fn open(node: &Node, path: &str) -> Self {
        Self::open_with(node, path, "HTTP/1.1", &[]).await
    }

    async fn open_with(node: &Node, path: &str, version: &str, headers: &[&str]) -> Self {
        Self::ask(Raw::connect(node).await, path, version, headers).await
    }

    async fn ask(mut raw: Raw, path: &str, version: &str, headers: &[&str]) -> Self {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        // Closing, so that the end of the stream is the end of the connection however it is carried.
        raw.send(format!("GET {path} {version}\r\nHost: x\r\nConnection: close\r\n{ACCEPT}\r\n{headers}\r\n")).await;
        let head = raw.read_until("\r\n\r\n").await.to_lowercase();
        assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
        Self(raw)
    }

    /// What a decoder makes of the bytes so far that hands out nothing before the next empty stored block, as Go's does. The one
    /// used here hands out all that it can, and would hide where such a block is missing.
    fn text(&self) -> String {
        let body = self.0.body();
        let handed_out = memchr::memmem::rfind(&body, &FLUSH).map_or(0, |at| at + FLUSH.len());
        let mut decoder = write::GzDecoder::new(Vec::new());
        decoder.write_all(&body[..handed_out]).unwrap();
        decoder.flush().unwrap();
        String::from_utf8_lossy(decoder.get_ref()).into_owned()
    }

    async fn read_until(&mut self, text: &str) -> String {
        let began = std::time::Instant::now();
        let mut length = 0;
        // Decode once no more data is waiting, not again for each piece of a large body.
        while length >= 16 << 10 || !self.text().contains(text) {
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {text:?} in {} bytes", self.text().len());
            length = self.0.read_some().await;
            assert!(length > 0, "the end came before {text:?}: {} bytes", self.text().len());
        }
        self.text()
    }

    /// The text of a stream that has come to its end, which is one of gzip: its checksum is right,
    /// its length too, and nothing follows.
    async fn read_to_end(&mut self) -> String {
        self.0.read_to_end().await;
        let body = self.0.body();
        let mut decoder = read::GzDecoder::new(&*body);
        let mut text = String::new();
        decoder.read_to_string(&mut text).unwrap();
        assert_eq!(decoder.into_inner(), b"", "bytes after the end");
        text
    }
}

/// Publishes numbered events of 48 KiB that do not get much shorter.
async fn publish_noise(node: &Node, numbers: std::ops::RangeInclusive<u64>) {
    let noise: String = (0..48 << 10).map(|_| rand::random_range('#'..='~')).collect();
    for n in numbers {
        node.publish("p", "large", json!([n, noise])).await;
    }
}

/// Without what differs from stream to stream: the time to wait, and when keepalives come.
fn events(text: &str) -> String {
    text.split_inclusive("\n\n")
        .map(|block| block.split_inclusive('\n').filter(|line| !line.starts_with("retry: ")).collect::<String>())
        .filter(|block| !block.ends_with(":keepalive\n\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_readers_get_what_others_get() {
    for way in compressing_both_ways() {
        let node = way.start().await;
        node.publish_numbers("p", 1..=30).await;
        let (mut compressed, mut plain) = (Reader::open(&node, "/pipelines/p/sse").await, Raw::connect(&node).await);
        plain.get("/pipelines/p/sse").await;
        compressed.read_until("data: 30\n").await;
        for text in ["", "größe ☃", &"long ".repeat(30_000), "a\nb\rc\0d"] {
            node.publish("p", "texts", json!(text)).await;
        }
        // What does not get shorter, and is longer than a stored block holds.
        let noise: String = (0..100_000).map(|_| rand::random_range('!'..='\u{2fff}')).collect();
        node.publish("p", "noise", json!(noise[..noise.floor_char_boundary(200_000)])).await;
        node.publish("p", "last", json!(1)).await;
        let expected = plain.read_until("event: last\ndata: 1\n\n").await.len();
        let text = compressed.read_until("event: last\ndata: 1\n\n").await;
        assert!(events(&text) == events(&plain.body_text()), "{} and {expected} bytes", text.len());
        // Some more joins, which are served from what is there.
        for _ in 0..3 {
            let mut late = Reader::open(&node, "/pipelines/p/sse").await;
            assert!(events(&late.read_until("event: last\ndata: 1\n\n").await) == events(&text));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_event_does_not_wait_for_the_next() {
    for way in compressing_both_ways() {
        let node = way.start().await;
        let mut reader = Reader::open(&node, "/pipelines/p/sse").await;
        reader.read_until("retry: ").await;
        for n in 1..=20 {
            node.publish("p", "numbers", json!([n, "filler ".repeat(n * n)])).await;
            reader.read_until(&format!("data: [{n},")).await;
            reader.read_until("\"]\n\n").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalives_come_in_compressed_streams_too() {
    for way in compressing_both_ways() {
        let node = way.set("STREAM__KEEPALIVE", "100ms").start().await;
        let mut all = Reader::open(&node, "/pipelines/p/sse").await;
        let mut some = Reader::open(&node, "/pipelines/p/sse?channel=a").await;
        let id = node.publish("p", "b", json!(1)).await;
        all.read_until("data: 1\n\n:keepalive\n\n:keepalive\n\n").await;
        some.read_until(&format!("event: pipecast.position\nid: {id}\ndata: {{}}\n\n:keepalive\n\n")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_the_node_ends_is_whole_gzip() {
    for way in compressing_both_ways() {
        let node = way.set("STREAM__MAX_AGE", "1s").set("STREAM__KEEPALIVE", "100ms").start().await;
        node.publish_numbers("p", 1..=40).await;
        let open = async |path| Reader::open(&node, path).await;
        let mut readers = [
            open("/pipelines/p/sse").await,
            open("/pipelines/p/sse?channel=numbers&replay=3").await,
            Reader::open_with(&node, "/pipelines/p/sse", "HTTP/1.0", &[]).await,
            open("/pipelines/empty/sse").await,
        ];
        node.publish("p", "numbers", json!(41)).await;
        for (reader, last) in readers.iter_mut().zip(["data: 41\n\n", "data: 41\n\n", "data: 41\n\n", ":keepalive\n\n"])
        {
            let text = reader.read_to_end().await;
            assert!(text.contains(last), "{text}");
            let end = text.strip_suffix("\n\n").and_then(|text| text.lines().last());
            assert!(end.is_some_and(|end| end.starts_with("retry: ")), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_stream_is_whole_gzip() {
    for way in compressing_both_ways() {
        let node = way.set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s").start().await;
        let mut reader = Reader::open(&node, "/pipelines/p/sse").await;
        node.publish("p", "a", json!("x".repeat(100_000))).await;
        reader.read_until("x\"\n\n").await;
        node.signal("TERM");
        let text = reader.read_to_end().await;
        assert!(text.len() > 100_000 && text.trim_end().lines().last().unwrap().starts_with("retry: "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_streams_resume_tell_gaps_and_filter() {
    for way in compressing_both_ways() {
        let node = way.set("HISTORY__LIMIT", "5").start().await;
        let ids = node.publish_numbers("p", 1..=10).await;
        let mut resumed =
            Reader::open_with(&node, "/pipelines/p/sse", "HTTP/1.1", &[&format!("Last-Event-ID: {}", ids[7])]).await;
        let text = events(&resumed.read_until("data: 10\n\n").await);
        assert!(text.starts_with(&format!("id: {}\nevent: numbers\ndata: 9\n\n", ids[8])), "{text}");

        let mut late = Reader::open(&node, &format!("/pipelines/p/sse?last_event_id={}", ids[0])).await;
        let text = events(&late.read_until("data: 10\n\n").await);
        assert!(text.starts_with("event: pipecast.gap\n") && text.contains("\"missed\":4}\n\n"), "{text}");
        assert!(text.contains("data: 6\n\n"), "{text}");

        let mut filtered = Reader::open(&node, "/pipelines/p/sse?channel=a&replay=0").await;
        filtered.read_until(&format!("event: pipecast.position\nid: {}\ndata: {{}}\n\n", ids[9])).await;
        node.publish("p", "b", json!(11)).await;
        node.publish("p", "a", json!(12)).await;
        let text = filtered.read_until("event: a\ndata: 12\n\n").await;
        assert!(!text.contains("data: 11"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_is_compressed_once_however_many_read_it() {
    for way in compressing_both_ways() {
        let node = way.start().await;
        let compressions = async || node.metric("pipecast_compressions_total").await;
        let mut readers = Vec::new();
        for n in 0..60 {
            let path = ["/pipelines/p/sse", "/pipelines/p/sse?channel=numbers&channel=a"][n % 2];
            let version = ["HTTP/1.1", "HTTP/1.0"][n / 2 % 2];
            readers.push(Reader::open_with(&node, path, version, &[]).await);
        }
        let mut plain = node.open("p", "").await;
        for n in 1..=20 {
            node.publish("p", "numbers", json!(n)).await;
        }
        for reader in &mut readers {
            reader.read_until("data: 20\n\n").await;
        }
        assert_eq!(plain.numbers(20).await, (1..=20).collect::<Vec<_>>());
        assert_eq!(compressions().await, 20.0);
        let mut late = Reader::open(&node, "/pipelines/p/sse").await;
        late.read_until("data: 20\n\n").await;
        assert_eq!(compressions().await, 20.0, "a replay reuses the compressed events");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_not_compressed_without_takers() {
    for way in compressing_both_ways() {
        let node = way.start().await;
        let mut plain = node.open("p", "").await;
        node.publish_numbers("p", 1..=5).await;
        plain.take(5).await;
        assert_eq!(node.metric("pipecast_compressions_total").await, 0.0);
    }
}

/// The value of a header of a stream's answer, all lines of it.
async fn header(node: &Node, method: &str, accepted: &[&str], name: &str) -> String {
    let url = format!("{}/pipelines/p/sse", node.url);
    let mut request = http().request(method.parse().unwrap(), url);
    for value in accepted {
        request = request.header("Accept-Encoding", *value);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let values = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn client_gets_gzip_if_it_says_that_it_takes_it() {
    for way in compressing_both_ways() {
        let node = way.set("SERVER__CORS_ORIGINS", "https://example.com").start().await;
        for method in ["GET", "HEAD"] {
            let coding = async |accepted: &[&str]| header(&node, method, accepted, "content-encoding").await;
            for yes in [&["gzip, deflate, br, zstd"][..], &["*"], &["br;q=1, GZIP;q=0.1"], &["br", "gzip"]] {
                assert_eq!(coding(yes).await, "gzip", "{method} {yes:?}");
            }
            for no in [&[][..], &["br"], &["gzip;q=0"], &["*, gzip;q=0"], &["identity, gzip;q=0.5"]] {
                assert_eq!(coding(no).await, "", "{method} {no:?}");
            }
            // Caches must know on what the answer depends, whichever they got.
            for accepted in [&[][..], &["gzip"]] {
                assert_eq!(header(&node, method, accepted, "vary").await, "Accept-Encoding, Origin");
                assert_eq!(header(&node, method, accepted, "cache-control").await, "no-cache, no-transform");
                assert_eq!(header(&node, method, accepted, "content-type").await, "text/event-stream; charset=utf-8");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed_unless_it_is_asked_for() {
    for way in both_ways() {
        let node = way.start().await;
        assert_eq!(header(&node, "GET", &["gzip"], "content-encoding").await, "");
        assert_eq!(header(&node, "GET", &["gzip"], "vary").await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_compressed_streams_are_closed_with_little_unsent() {
    const NARROW: usize = 8 << 10;
    for way in compressing_both_ways() {
        let node = way.set("STREAM__WRITE_TIMEOUT", "1s").set("HISTORY__LIMIT", "10").start().await;
        let mut stuck = Vec::new();
        for _ in 0..50 {
            let raw = Raw::connect_narrow(&node, NARROW);
            stuck.push(Reader::ask(raw, "/pipelines/p/sse", "HTTP/1.1", &[]).await);
        }
        let mut fast = node.open("p", "").await;
        let memory_before = node.metric("process_resident_memory_bytes").await;
        publish_noise(&node, 1..=300).await;
        fast.take(300).await;
        let grown = node.metric("process_resident_memory_bytes").await - memory_before;
        assert!(grown < 64e6, "{grown} bytes more for 50 stuck readers of 15 MB");
        eventually("stuck readers are closed", || async {
            node.metric("pipecast_streams_closed_total{reason=\"write_timeout\"}").await == 50.0
        })
        .await;
        for reader in &mut stuck {
            let received = reader.0.read_to_cut().await;
            assert!(received < (256 << 10) + 8 * NARROW, "{received} bytes were sent to a stalled client");
        }
    }
}

/// The gap appears in place of the lost events, and the checksum covers only what was sent.
#[tokio::test(flavor = "multi_thread")]
async fn slow_compressed_reader_gets_a_gap_and_a_whole_end() {
    for way in compressing_both_ways() {
        let options =
            way.set("HISTORY__LIMIT", "10").set("HUB__BACKLOG", "256KiB").set("STREAM__WRITE_TIMEOUT", "120s");
        let node = options.set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s").start().await;
        let raw = Raw::connect_narrow(&node, 16 << 10);
        let mut slow = Reader::ask(raw, "/pipelines/p/sse", "HTTP/1.1", &[]).await;
        let mut fast = node.open("p", "").await;
        publish_noise(&node, 1..=150).await;
        fast.take(150).await;
        slow.read_until("event: pipecast.gap\n").await;
        node.publish("p", "last", json!("last")).await;
        slow.read_until("event: last\n").await;
        node.signal("TERM");
        let text = slow.read_to_end().await;
        // Each gap has the number of missing events. A second one is possible, if the kernel takes something meanwhile.
        let missed = text.split("event: pipecast.gap\n").skip(1).map(|rest| {
            let data = rest.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            serde_json::from_str::<serde_json::Value>(data).unwrap()["missed"].as_u64().unwrap()
        });
        assert_eq!(text.matches("event: large\n").count() as u64 + missed.sum::<u64>(), 150);
    }
}
