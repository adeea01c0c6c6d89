//! Notifications from other nodes: one that is accepted means exactly what its text says.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pipecast::log::notification::Notification;

fuzz_target!(|text: &[u8]| {
    let Ok(notification) = Notification::parse(Bytes::copy_from_slice(text)) else { return };
    let mut again = Vec::new();
    let mut before = notification.after;
    for frame in &notification.frames {
        again.extend_from_slice(format!("{before}\n").as_bytes());
        again.extend_from_slice(frame.text());
        before = frame.id();
        let [id, event, data, "", ""] = text_lines(frame.text())[..] else {
            panic!("a frame has three lines and a blank one")
        };
        assert_eq!(id, format!("id: {}", frame.id()));
        assert_eq!(event, format!("event: {}", frame.channel()));
        assert_eq!(data, format!("data: {}", frame.payload()));
    }
    if again.is_empty() {
        again.extend_from_slice(format!("{before}\n").as_bytes());
    }
    assert_eq!(again, text);
    let are_in_order = notification.frames.is_sorted_by(|one, next| one.id() < next.id());
    assert!(are_in_order);
});

fn text_lines(text: &[u8]) -> Vec<&str> {
    std::str::from_utf8(text).expect("a frame is text").split('\n').collect()
}
