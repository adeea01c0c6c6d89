//! Static keys: given in a file of settings, in one variable, or in a file of their own.

use reqwest::Method;
use serde_json::json;

use super::{REQUESTS, ask, is_read, publish, status};
use crate::support::node::{Node, Options};

const WRITER: &str = "writer-0123456789abcdef";
const READER: &str = "reader-0123456789abcdef";

fn options() -> Options {
    Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token")
}

async fn assert_keys_work(node: &Node) {
    for (method, path) in &REQUESTS {
        let (right, wrong) = if is_read(method) { (READER, WRITER) } else { (WRITER, READER) };
        let status =
            async |pipeline: &str, token: &str| ask(node, method, pipeline, path, Some(token)).await.status().as_u16();
        assert!((200..300).contains(&status("p_1", right).await), "{method} {path}");
        assert_eq!(status("p_1", wrong).await, 403, "{method} {path}");
        assert_eq!(status("q", right).await, 403, "{method} {path}");
        for token in ["reader", "reader-0123456789abcdeF", "reader-0123456789abcdef0", "0123456789abcdef"] {
            assert_eq!(status("p_1", token).await, 401, "{method} {path} {token}");
        }
    }
    assert_eq!(status(node, "/events", &format!(" {READER}")).await, 403, "blanks before it do not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_one_variable_open_what_they_say() {
    let keys = format!(
        r#"[{{name="writer", key="{WRITER}", publish=["p_*"]}}, {{name="reader", key="{READER}", subscribe=["p_*"]}}]"#
    );
    assert_keys_work(&options().set("AUTH__KEYS", &keys).start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_of_settings_open_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("pipecast.toml"), folder.path().join("secret"));
    std::fs::write(&secret, format!("{READER}\n")).unwrap();
    let text = format!(
        "[auth]\npublish = \"token\"\nsubscribe = \"token\"\n[[auth.keys]]\nname = \"writer\"\nkey = \"{WRITER}\"\npublish = [\"p_*\"]\n\
         [[auth.keys]]\nname = \"reader\"\nkey_file = \"{}\"\nsubscribe = [\"p_*\"]\n",
        secret.display()
    );
    std::fs::write(&file, text).unwrap();
    let options = Options::default().argument("--config").argument(&file.display().to_string());
    assert_keys_work(&options.start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_of_their_own_open_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let text = format!("[[keys]]\nname = \"reader\"\nkey = \"{READER}\"\nsubscribe = [\"p_*\"]\n");
    std::fs::write(&file, text).unwrap();
    let keys = format!(r#"[{{name="writer", key="{WRITER}", publish=["p_*"]}}]"#);
    let options = options().set("AUTH__KEYS_FILE", &file.display().to_string()).set("AUTH__KEYS", &keys);
    assert_keys_work(&options.start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_limited_to_channels_reads_no_others() {
    let keys = format!(
        r#"[{{name="writer", key="{WRITER}", publish=["*"]}}, {{name="reader", key="{READER}", subscribe=["*"], channels=["names"]}}]"#
    );
    let node = options().set("AUTH__KEYS", &keys).start().await;
    publish(&node, "p", "secret", json!(1), WRITER).await;
    publish(&node, "p", "names", json!(2), WRITER).await;
    assert_eq!(node.open("p", &format!("?token={READER}")).await.numbers(1).await, [2]);
    assert_eq!(ask(&node, &Method::GET, "p", "/sse?channel=secret", Some(READER)).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_a_rate_of_its_own_however_many_share_an_address() {
    let other = "another-0123456789abcdef";
    let keys = format!(
        r#"[{{name="writer", key="{WRITER}", publish=["*"]}}, {{name="another", key="{other}", publish=["*"]}}]"#
    );
    let node = options().set("AUTH__KEYS", &keys).set("LIMITS__PUBLISH_RATE_PER_PUBLISHER", "2/h").start().await;
    let status = async |pipeline: &str, key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}"))];
        node.post_with(pipeline, json!({"channel": "a", "payload": 1}), &headers).await.status().as_u16()
    };
    assert_eq!((status("p", WRITER).await, status("p", WRITER).await), (202, 202));
    assert_eq!((status("p", WRITER).await, status("q", WRITER).await), (429, 429));
    assert_eq!((status("p", other).await, status("p", other).await, status("p", other).await), (202, 202, 429));
}
