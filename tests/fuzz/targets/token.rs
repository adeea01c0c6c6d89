//! A token: nobody gets in but by a header and claims that another reader finds to say so.
//!
//! The input is a token as it stands, or a header and claims with a line feed between them, which are then signed with the
//! secret that the node knows.
#![no_main]

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use pipecast::auth::{Auth, Presented};
use pipecast::event::PipelineId;
use pipecast::settings::{Settings, Sources};
use ring::hmac;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::runtime::Runtime;

const SECRET: &str = "not a secret, but long enough for one";
const PIPELINE: &str = "p_aBcDeF";
const ISSUER: &str = "issuer";
const AUDIENCE: &str = "audience";

/// A header and claims that open everything.
const GOOD: &str = include_str!("../seeds/token/reader-and-publisher");

static AUTH: LazyLock<Auth> = LazyLock::new(|| {
    let flags = [
        ("auth.publish", "token"),
        ("auth.subscribe", "token"),
        ("auth.jwt_secret", SECRET),
        ("auth.issuer", ISSUER),
        ("auth.audience", AUDIENCE),
    ];
    let flags = flags.map(|(key, value)| (key, value.to_owned())).into();
    let (settings, _) = Settings::load(&Sources { flags, ..Sources::default() }).expect("settings");
    Auth::load(settings.auth).expect("keys")
});

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

fuzz_target!(init: {
    let (header, claims) = GOOD.split_once('\n').expect("two lines");
    assert_eq!(judge(&sign(header, claims)), (true, true), "one that is good gets in");
}, |text: &str| {
    let Some((header, claims)) = text.split_once('\n') else {
        assert_eq!(judge(text), (false, false), "nobody can sign but we");
        return;
    };
    let (publishes, reads) = judge(&sign(header, claims));
    if !publishes && !reads {
        return;
    }
    for text in [header, claims] {
        serde_json::from_str::<IgnoredAny>(text).expect("both are JSON");
    }
    // Numbers beyond those of `f64` are JSON, and none of ours: claims that we do not know may hold them.
    let Ok(header) = serde_json::from_str::<Value>(header) else { return };
    let Ok(claims) = serde_json::from_str::<Value>(claims) else { return };
    assert_eq!(header["alg"], "HS256");
    assert_eq!(claims["iss"], ISSUER);
    let audiences = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
    assert!(audiences.contains(&AUDIENCE.into()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    // With what clocks may differ, a minute.
    let is_after = |name: &str, time: f64| claims[name].as_f64().is_some_and(|moment| moment > time);
    assert!(is_after("exp", now - 61.0) || claims.get("exp").is_none() && !reads);
    assert!(!is_after("nbf", now + 61.0));
    let rights = claims["pipecast"].as_object().expect("rights are an object");
    for (right, is_granted) in [("publish", publishes), ("subscribe", reads)] {
        let patterns = rights.get(right).and_then(Value::as_array).into_iter().flatten();
        assert!(!is_granted || patterns.filter_map(Value::as_str).any(matches), "{right}");
    }
});

fn sign(header: &str, claims: &str) -> String {
    let unsigned = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), unsigned.as_bytes());
    format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Whether it lets publish, and read.
fn judge(token: &str) -> (bool, bool) {
    let pipeline: PipelineId = PIPELINE.parse().expect("a pipeline's name");
    RUNTIME.block_on(async {
        let publishes = AUTH.publish(pipeline.clone(), Presented::Token(token)).await.is_ok();
        (publishes, AUTH.read(pipeline, Presented::Token(token)).await.is_ok())
    })
}

fn matches(pattern: &str) -> bool {
    pattern == PIPELINE || pattern.strip_suffix('*').is_some_and(|beginning| PIPELINE.starts_with(beginning))
}
