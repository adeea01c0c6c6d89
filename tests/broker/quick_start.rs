//! The commands that a node prints when it starts, run exactly as printed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::auth::issuer::{SECRET, key_path};
use crate::support::node::Options;

const KEY: &str = "correct-horse-battery";

/// A node, and the commands that it printed by their labels; killed when dropped.
struct Announced {
    child: Child,
    text: String,
    commands: HashMap<String, String>,
}

impl Announced {
    fn start(options: Options) -> Self {
        let mut command = options.command();
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut text, mut commands) = (String::new(), HashMap::new());
        for line in lines {
            text.push_str(&line);
            text.push('\n');
            if let Some((label, command)) = line.trim().split_once("   ") {
                commands.insert(label.to_owned(), command.trim().to_owned());
                if label == "Publish" {
                    break;
                }
            }
        }
        Self { child, text, commands }
    }

    /// Runs the printed commands in a shell with these variables: an event is published, and a subscriber receives it.
    fn assert_works(&self, environment: &[(&str, &str)]) {
        let token = self.commands.get("Token").map_or("", String::as_str);
        let shell = |command: &str| {
            let mut shell = Command::new("bash");
            let folder = Path::new(env!("CARGO_BIN_EXE_pipecast")).parent().unwrap();
            shell.args(["-c", &format!("set -e\nPATH='{}':$PATH\n{token}\n{command}", folder.display())]);
            shell.env("no_proxy", "127.0.0.1").envs(environment.iter().copied());
            shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let published = shell(&self.commands["Publish"]).wait_with_output().unwrap();
        let answer = String::from_utf8(published.stdout).unwrap();
        assert!(answer.contains("\"id\""), "{answer} {}", self.text);
        let mut subscriber = shell(&format!("exec {}", self.commands["Subscribe"]));
        let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == r#"data: {"name":"Luke"}"#), "{}", self.text);
        subscriber.kill().unwrap();
        subscriber.wait().unwrap();
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn guarded() -> Options {
    Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token")
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn printed_commands_work_on_an_open_node() {
    let node = Announced::start(Options::default());
    assert!(!node.text.contains("Token"), "{}", node.text);
    node.assert_works(&[]);
}

#[test]
fn printed_commands_work_with_a_token_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(&folder, "it's a secret", SECRET);
    let named = guarded().set("AUTH__ISSUER", "the issuer").set("AUTH__AUDIENCE", "it's us");
    Announced::start(named.set("AUTH__JWT_SECRET_FILE", &secret)).assert_works(&[]);

    let node = Announced::start(guarded().set("AUTH__JWT_SECRET", SECRET));
    assert!(!node.text.contains(SECRET), "{}", node.text);
    node.assert_works(&[("PIPECAST_AUTH__JWT_SECRET", SECRET)]);

    let text = format!("[auth]\npublish = \"token\"\nsubscribe = \"open\"\njwt_secret = \"{SECRET}\"\n");
    let config = file(&folder, "pipecast.toml", &text);
    let node = Announced::start(Options::default().argument("--config").argument(&config));
    assert!(!node.text.contains(SECRET), "{}", node.text);
    assert!(!node.commands["Subscribe"].contains("Authorization"), "{}", node.text);
    node.assert_works(&[]);
}

#[test]
fn printed_commands_work_with_a_static_key() {
    let folder = tempfile::tempdir().unwrap();
    let secret = file(&folder, "key", KEY);
    let in_file = format!(
        r#"[{{name = "backend", key_file = "{secret}", publish = ["news_*"], subscribe = ["*"], channels = ["a"]}}]"#
    );
    let node = Announced::start(guarded().set("AUTH__KEYS", &in_file));
    node.assert_works(&[]);

    let given = format!(r#"[{{name = "backend", key = "{KEY}", publish = ["news"], subscribe = ["news"]}}]"#);
    let node = Announced::start(guarded().set("AUTH__KEYS", &given));
    assert!(!node.text.contains(KEY), "{}", node.text);
    let instruction = &node.commands["Token"];
    assert!(instruction.contains("PIPECAST_TOKEN") && instruction.contains("`backend`"), "{instruction}");
}

#[test]
fn printed_text_says_how_to_sign_for_public_keys() {
    let public = key_path("ed.pub.pem");
    let node = Announced::start(guarded().set("AUTH__JWT_KEYS", &public));
    let instruction = &node.commands["Token"];
    assert!(
        instruction.contains("pipecast token") && instruction.contains("--key-file PRIVATE_KEY.pem"),
        "{instruction}"
    );
    let key_set = Announced::start(guarded().set("AUTH__JWKS_URL", "https://127.0.0.1:1/keys"));
    assert!(key_set.commands["Token"].contains("PIPECAST_TOKEN"), "{}", key_set.text);
}
