//! Tokens that are right, and one test for each way to be wrong.

use proptest::prelude::*;
use reqwest::Method;
use ring::hmac;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::issuer::{
    NamedKey, SECRET, all, asymmetric, base64url, claims, hmac_token, hs256, key_path, key_set, key_text, now, signed,
    with,
};
use super::{REQUESTS, ask, assert_good_for_nothing, guarded, is_read, publish, status};
use crate::support::node::{Node, Options};
use crate::support::raw::Raw;

async fn node() -> Node {
    guarded(Options::default()).start().await
}

/// One that knows the public keys in files, and no secret.
async fn node_with_public_keys() -> Node {
    let paths = ["rsa.pub.pem", "ec.pub.pem", "ed.pub.pem"].map(key_path).join(",");
    let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
    options.set("AUTH__JWT_KEYS", &paths).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_opens_what_its_token_says() {
    let node = node_with_public_keys().await;
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let token = asymmetric(algorithm, &claims(all()));
        publish(&node, "p", "a", json!(1), &token).await;
        assert_eq!(status(&node, "/events", &token).await, 200, "{algorithm}");
    }
    let node = super::guarded(Options::default()).start().await;
    for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let token = hmac_token(algorithm, SECRET.as_bytes(), &json!({"alg": name}), &claims(all()));
        assert_eq!(status(&node, "/events", &token).await, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_a_pem_file_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.pem");
    let keys = ["rsa.pub.pem", "ec.pub.pem", "ed.pub.pem"].map(key_text);
    std::fs::write(&path, [b"The old one:\n", &keys[0][..], b"and new ones:\n", &keys[1], &keys[2]].concat()).unwrap();
    let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
    let node = options.set("AUTH__JWT_KEYS", path.to_str().unwrap()).start().await;
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        assert_eq!(status(&node, "/events", &asymmetric(algorithm, &claims(all()))).await, 200, "{algorithm}");
    }
}

/// A wrong token costs a signature's check for each key that could have signed it.
#[tokio::test(flavor = "multi_thread")]
async fn token_that_names_no_key_is_tried_with_a_few_at_most() {
    const MOST_TRIED: usize = 8;
    let keys: Vec<_> = (0..30).map(|n| NamedKey::new(&format!("key-{n}"))).collect();
    let folder = tempfile::tempdir().unwrap();
    for (count, expected) in [(MOST_TRIED, 200), (MOST_TRIED + 1, 401), (keys.len(), 401)] {
        let path = folder.path().join("keys.json");
        std::fs::write(&path, key_set(&keys.iter().take(count).collect::<Vec<_>>())).unwrap();
        let options = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__SUBSCRIBE", "token");
        let node = options.set("AUTH__JWKS_FILE", path.to_str().unwrap()).start().await;
        for key in [&keys[0], &keys[count - 1]] {
            assert_eq!(status(&node, "/events", &key.token(&claims(all()))).await, 200);
            assert_eq!(status(&node, "/events", &key.nameless_token(&claims(all()))).await, expected, "{count} keys");
        }
        assert_eq!(status(&node, "/events", &NamedKey::new("other").nameless_token(&claims(all()))).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_open_but_the_page_and_preflights() {
    let node = node().await;
    for (method, path) in &REQUESTS {
        let answer = ask(&node, method, "p", path, None).await;
        assert_eq!(answer.status(), 401, "{method} {path}");
        assert_eq!(answer.headers()["WWW-Authenticate"], "Bearer");
    }
    for path in ["/", "/pipelines/p"] {
        let page = node.http.get(format!("{}{path}", node.url)).header("Accept", "text/html").send().await.unwrap();
        assert_eq!(page.status(), 200);
    }
    assert_eq!(ask(&node, &Method::OPTIONS, "p", "/events", None).await.status(), 204);
    assert_eq!(node.metric("pipecast_rejected_total{reason=\"unauthorized\"}").await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_open_mode_what_is_presented_is_not_looked_at() {
    let node = Options::default().set("AUTH__PUBLISH", "token").set("AUTH__JWT_SECRET", SECRET).start().await;
    publish(&node, "p", "a", json!(1), &hs256(&claims(all()))).await;
    for token in [None, Some("nonsense")] {
        assert_eq!(ask(&node, &Method::GET, "p", "/events", token).await.status(), 200);
        assert_eq!(ask(&node, &Method::POST, "p", "/events", token).await.status(), 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_by_another_secret_opens_nothing() {
    let token = hmac_token(
        hmac::HMAC_SHA256,
        b"another secret of forty bytes, not theirs",
        &json!({"alg": "HS256"}),
        &claims(all()),
    );
    assert_good_for_nothing(&node().await, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_was_changed_after_signing_opens_nothing() {
    let node = node().await;
    let token = hs256(&claims(json!({"subscribe": ["q"]})));
    let parts: Vec<_> = token.split('.').collect();
    let more = base64url(claims(all()).to_string().as_bytes());
    assert_good_for_nothing(&node, &format!("{}.{more}.{}", parts[0], parts[2])).await;
    assert_good_for_nothing(&node, &format!("{}.{}.", parts[0], parts[1])).await;
    assert_good_for_nothing(&node, &format!("{}.{}.{}", parts[0], parts[1], &parts[2][1..])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_opens_nothing() {
    let node = node().await;
    assert_good_for_nothing(&node, &hs256(&with(claims(all()), "exp", json!(now() - 3600)))).await;
    // The leeway is for publishers: a stream would have ended before it began.
    let token = hs256(&with(claims(all()), "exp", json!(now() - 1)));
    assert_eq!(status(&node, "/sse", &token).await, 401);
    assert_eq!(status(&node, "/events", &token).await, 401);
    publish(&node, "p", "a", json!(1), &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_from_the_future_opens_nothing() {
    let node = node().await;
    assert_good_for_nothing(&node, &hs256(&with(claims(all()), "nbf", json!(now() + 3600)))).await;
    // An issuer whose clock is a little ahead.
    let token = hs256(&with(claims(all()), "nbf", json!(now() + 10)));
    assert_eq!(status(&node, "/events", &token).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_that_are_no_numbers_open_nothing() {
    let node = node().await;
    for (name, value) in [
        ("nbf", json!("99999999999")),
        ("exp", json!("never")),
        ("exp", json!([now() + 60])),
        ("exp", json!(-1)),
        ("nbf", json!(true)),
    ] {
        assert_good_for_nothing(&node, &hs256(&with(claims(all()), name, value))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_without_a_signature_opens_nothing() {
    let node = node().await;
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None", "typ": "JWT"}),
        json!({"alg": "NONE"}),
        json!({"alg": ""}),
        json!({}),
    ] {
        for signature in [&b""[..], b"x"] {
            assert_good_for_nothing(&node, &signed(&header, &claims(all()), |_| signature.to_vec())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_key_is_not_taken_for_a_secret() {
    let node = node_with_public_keys().await;
    for name in ["rsa.pub.pem", "ec.pub.pem", "ed.pub.pem"] {
        let pem = key_text(name);
        let text = String::from_utf8(pem.clone()).unwrap();
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).unwrap().to_vec();
        // As written, as a file, and what libraries make of it: the key without what says which kind it is.
        let raw = [32, 65, 270].map(|length| der[der.len().saturating_sub(length)..].to_vec());
        for secret in [&[pem.clone(), text.trim().as_bytes().to_vec(), der.clone()][..], &raw].concat() {
            for (alg, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
                let token = hmac_token(algorithm, &secret, &json!({"alg": alg}), &claims(all()));
                assert_good_for_nothing(&node, &token).await;
            }
        }
        // A right signature under another algorithm's name.
        let token = hmac_token(hmac::HMAC_SHA256, &pem, &json!({"alg": "RS256"}), &claims(all()));
        assert_good_for_nothing(&node, &token).await;
    }
    let es256 = asymmetric("ES256", &claims(all()));
    let renamed = format!("{}.{}", base64url(b"{\"alg\":\"RS256\"}"), es256.split_once('.').unwrap().1);
    assert_good_for_nothing(&node, &renamed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_comes_in_the_header_is_not_used() {
    let node = node().await;
    let own = super::issuer::NamedKey::new("mine");
    let header = json!({"alg": "HS256", "jwk": own.entry(), "jku": "http://127.0.0.1:1/keys", "kid": "../../dev/null"});
    let token = hmac_token(hmac::HMAC_SHA256, b"a secret that nobody but the attacker knows", &header, &claims(all()));
    assert_good_for_nothing(&node, &token).await;
    // An extension that must be understood, and is not.
    let header = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    assert_good_for_nothing(&node, &hmac_token(hmac::HMAC_SHA256, SECRET.as_bytes(), &header, &claims(all()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_another_issuer_or_audience_is_rejected() {
    let node = guarded(Options::default()).set("AUTH__ISSUER", "us").set("AUTH__AUDIENCE", "broker").start().await;
    let right = with(with(claims(all()), "iss", json!("us")), "aud", json!("broker"));
    assert_eq!(status(&node, "/events", &hs256(&right)).await, 200);
    assert_eq!(status(&node, "/events", &hs256(&with(right.clone(), "aud", json!(["x", "broker"])))).await, 200);
    for (name, value) in [
        ("iss", json!("them")),
        ("iss", Value::Null),
        ("iss", json!(["us"])),
        ("aud", json!("brokers")),
        ("aud", json!(["x"])),
        ("aud", json!([])),
        ("aud", Value::Null),
    ] {
        assert_good_for_nothing(&node, &hs256(&with(right.clone(), name, value))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_without_end_publishes_and_reads_nothing() {
    let node = node().await;
    let token = hs256(&with(claims(all()), "exp", Value::Null));
    for (method, path) in &REQUESTS {
        let status = ask(&node, method, "p", path, Some(&token)).await.status();
        assert_eq!(status == 401, is_read(method), "{method} {path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_for_another_pipeline_opens_nothing() {
    let node = node().await;
    publish(&node, "p", "a", json!(1), &hs256(&claims(all()))).await;
    for rights in [
        json!({"publish": ["q"], "subscribe": ["q", "p_*", "P"]}),
        json!({"publish": [], "subscribe": []}),
        json!({}),
        json!({"subscribe": ["pp", "p_"], "publish": ["x*"]}),
    ] {
        let token = hs256(&claims(rights.clone()));
        for (method, path) in &REQUESTS {
            let answer = ask(&node, method, "p", path, Some(&token)).await;
            assert_eq!(answer.status(), 403, "{rights} {method} {path}");
            assert!(answer.headers()["WWW-Authenticate"].to_str().unwrap().contains("insufficient_scope"));
        }
    }
    // Each right is its own.
    for (rights, may_read) in [(json!({"subscribe": ["p"]}), true), (json!({"publish": ["p"]}), false)] {
        let token = hs256(&claims(rights));
        for (method, path) in &REQUESTS {
            let status = ask(&node, method, "p", path, Some(&token)).await.status();
            assert_eq!(status == 403, is_read(method) != may_read, "{method} {path}: {status}");
        }
    }
    assert!(node.metric("pipecast_rejected_total{reason=\"forbidden\"}").await >= 24.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_cannot_be_read_give_none() {
    let node = node().await;
    for rights in [
        json!("*"),
        json!(["*"]),
        json!({"subscribe": "*"}),
        json!({"subscribe": ["*"], "publish": ["*"], "channel": ["a"]}),
        json!({"subscribe": ["*"], "publish": ["*"], "channels": null}),
        json!({"subscribe": ["*"], "publish": ["*"], "channels": "a"}),
        json!({"subscribe": ["*", "a*b"], "publish": ["*"]}),
        json!(null),
    ] {
        let mut claims = claims(all());
        claims["pipecast"] = rights;
        assert_good_for_nothing(&node, &hs256(&claims)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_pipeline_answers_like_a_known_one() {
    let node = node().await;
    publish(&node, "known", "a", json!(1), &hs256(&claims(all()))).await;
    let elsewhere = hs256(&claims(json!({"publish": ["q"], "subscribe": ["q"]})));
    for token in [None, Some("nonsense"), Some(&*elsewhere)] {
        for (method, path) in &REQUESTS {
            let mut seen = Vec::new();
            for pipeline in ["known", "other"] {
                let answer = ask(&node, method, pipeline, path, token).await;
                let mut headers = answer.headers().clone();
                headers.remove("Date");
                seen.push((answer.status(), headers, answer.text().await.unwrap()));
            }
            assert_eq!(seen[0], seen[1], "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn right_is_judged_before_anything_else_is() {
    let node = node().await;
    let url = format!("{}/pipelines/p", node.url);
    for request in [
        node.http.post(format!("{url}/events")).header("Content-Type", "text/plain").body("x"),
        node.http.post(format!("{url}/events")).header("Idempotency-Key", "").body("x"),
        node.http.get(format!("{url}/sse?replay=x")),
        node.http.get(format!("{url}/events?after=x&limit=x")),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    // Not a byte of the body is waited for.
    let mut raw = Raw::connect(&node).await;
    raw.send("POST /pipelines/p/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n").await;
    assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_limit_what_is_read() {
    for options in crate::support::node::both_ways() {
        let node = guarded(options).start().await;
        let everything = hs256(&claims(all()));
        for channel in ["secret", "names", "orders", "secret", "names"] {
            publish(&node, "p", channel, json!(channel), &everything).await;
        }
        let limited = hs256(&claims(json!({"subscribe": ["p"], "channels": ["names", "orders"]})));
        let nothing = hs256(&claims(json!({"subscribe": ["p"], "channels": []})));
        let history = async |query: &str, token: &str| {
            let answer = ask(&node, &Method::GET, "p", &format!("/events{query}"), Some(token)).await;
            let status = answer.status().as_u16();
            let page: Value = answer.json().await.unwrap();
            let channels = page["events"].as_array().map(|events| {
                events.iter().map(|event| event["channel"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            });
            (status, channels.unwrap_or_default())
        };
        assert_eq!(history("", &limited).await, (200, vec!["names".into(), "orders".into(), "names".into()]));
        assert_eq!(history("?channel=orders", &limited).await, (200, vec!["orders".into()]));
        assert_eq!(history("?channel=secret", &limited).await, (403, vec![]));
        assert_eq!(history("?channel=names&channel=secret", &limited).await, (403, vec![]));
        assert_eq!(history("", &nothing).await, (200, vec![]));
        assert_eq!(status(&node, "/sse?channel=secret", &limited).await, 403);
        assert_eq!(status(&node, "/sse?channel=names", &nothing).await, 403);
        let mut stream = node.open("p", &format!("?token={limited}")).await;
        let mut filtered = node.open("p", &format!("?channel=orders&token={limited}")).await;
        let mut empty = node.open("p", &format!("?token={nothing}")).await;
        publish(&node, "p", "secret", json!(0), &everything).await;
        publish(&node, "p", "orders", json!(1), &everything).await;
        let seen: Vec<_> = stream.take(4).await.into_iter().map(|event| event.event).collect();
        assert_eq!(seen, ["names", "orders", "names", "orders"]);
        assert_eq!(filtered.take(2).await.iter().map(|event| &*event.event).collect::<Vec<_>>(), ["orders", "orders"]);
        assert!(empty.arrived().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_for_a_channel_is_told_no_numbers_of_the_others() {
    for options in crate::support::node::both_ways() {
        let node = guarded(options.set("HISTORY__LIMIT", "3")).start().await;
        let everything = hs256(&claims(all()));
        let limited = hs256(&claims(json!({"subscribe": ["p"], "channels": ["names"]})));
        publish(&node, "p", "secret", json!(1), &everything).await;
        let about =
            async |token: &str| ask(&node, &Method::GET, "p", "", Some(token)).await.json::<Value>().await.unwrap();
        let first_id = about(&everything).await["last_id"].as_str().unwrap().to_owned();
        for n in 2..=9 {
            publish(&node, "p", "secret", json!(n), &everything).await;
        }
        let (whole, told) = (about(&everything).await, about(&limited).await);
        assert_eq!((&whole["events"], &whole["subscribers"]), (&json!(3), &json!(0)));
        // A position is what a client resumes from.
        assert_eq!(told, json!({"pipeline": "p", "last_id": whole["last_id"], "events": null, "subscribers": null}));
        for (token, query, missed) in [
            (&everything, "", json!(5)),
            // What a client leaves out by itself it could have had.
            (&everything, "&channel=names", json!(5)),
            (&limited, "", json!(null)),
            (&limited, "&channel=names", json!(null)),
        ] {
            let mut stream = node.open_with("p", &format!("?token={token}{query}"), Some(&first_id)).await;
            let gap = stream.next().await;
            assert_eq!(gap.event, "pipecast.gap");
            let data: Value = serde_json::from_str(&gap.data).unwrap();
            assert_eq!(data, json!({"reason": "trimmed", "after": first_id, "missed": missed}), "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_needs_the_right_to_read() {
    let node = node().await;
    let writer = hs256(&claims(json!({"publish": ["p"]})));
    publish(&node, "p", "a", json!(1), &writer).await;
    for path in ["/sse", "/sse?replay=100", "/sse?last_event_id=0-0", "/events", "/events?after=0-0", ""] {
        assert_eq!(status(&node, path, &writer).await, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_headers_are_refused_and_a_header_wins_over_the_query() {
    let node = node().await;
    let good = hs256(&claims(all()));
    let url = format!("{}/pipelines/p/events", node.url);
    let ask = async |headers: &[String], query: &str| {
        let mut request = node.http.get(format!("{url}{query}"));
        for value in headers {
            request = request.header("Authorization", value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let (right, wrong) = (format!("Bearer {good}"), "Bearer x.y.z".to_owned());
    assert_eq!(ask(&[right.clone(), right.clone()], "").await, 401);
    assert_eq!(ask(&[right.clone(), wrong.clone()], "").await, 401);
    assert_eq!(ask(std::slice::from_ref(&wrong), &format!("?token={good}")).await, 401);
    assert_eq!(ask(&[right], "?token=x.y.z").await, 200);
    assert_eq!(ask(&[], &format!("?token={good}")).await, 200);
    assert_eq!(ask(&[], &format!("?token={good}&token={good}")).await, 401);
}

/// Text that is nearly a token, or far from it, is refused and ends nothing.
#[test]
fn arbitrary_text_is_no_token() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(node());
    let good = hs256(&claims(all()));
    let check = |token: String| {
        prop_assume!(token != good && !token.trim().is_empty());
        let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
        let url = format!("{}/pipelines/p/events?token={encoded}", node.url);
        let status = runtime.block_on(async { node.http.get(url).send().await.unwrap().status() });
        prop_assert_eq!(status, 401);
        Ok(())
    };
    proptest!(ProptestConfig::with_cases(64), |(token in ".{1,60}")| { check(token)?; });
    proptest!(ProptestConfig::with_cases(64), |(token in "[A-Za-z0-9_.=-]{1,60}")| { check(token)?; });
    proptest!(ProptestConfig::with_cases(64), |(at in 0..good.len(), byte in "[A-Za-z0-9_.-]")| {
        let mut token = good.clone();
        token.replace_range(at..=at, &byte);
        // The last character of base64 carries bits that mean nothing; they must be zero.
        check(token)?;
    });
    proptest!(ProptestConfig::with_cases(64), |(header in "(\\{\"alg\":\"(HS256|none)\"\\}|\\{|[\\[\\{\":,a-z]{0,20})", claims in "[\\[\\]{}\":,a-z0-9]{0,40}")| {
        check(format!("{}.{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()), base64url(b"signature")))?;
        let header = serde_json::from_str::<Value>(&header).unwrap_or_else(|_| json!({"alg": "HS256"}));
        // Signed, with invalid claims.
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let text = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.as_bytes()));
        let signature = base64url(hmac::sign(&key, text.as_bytes()).as_ref());
        check(format!("{text}.{signature}"))?;
    });
}
