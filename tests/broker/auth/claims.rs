//! Claims and headers that are signed and not what they should be: a sloppy issuer's token opens nothing, rather than more.

use serde_json::{Value, json};

use super::issuer::{all, claims, hs256, hs256_of_text, now, with};
use super::{assert_good_for_nothing, guarded, publish};
use crate::support::node::{Node, Options};

async fn node() -> Node {
    guarded(Options::default()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_that_is_null_opens_nothing() {
    let node = node().await;
    for name in ["exp", "nbf", "iss", "aud", "jti", "pipecast"] {
        let mut claims = claims(all());
        // What JavaScript writes for NaN and Infinity.
        claims[name] = Value::Null;
        assert_good_for_nothing(&node, &hs256(&claims)).await;
    }
    let good = claims(all()).to_string();
    for header in [
        json!({"alg": "HS256", "kid": null}),
        json!({"alg": "HS256", "typ": null}),
        json!({"alg": "HS256", "crit": null}),
        json!({"alg": null}),
    ] {
        assert_good_for_nothing(&node, &hs256_of_text(&header.to_string(), &good)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn array_in_the_place_of_an_object_opens_nothing() {
    let node = node().await;
    let (header, exp) = (r#"{"alg":"HS256"}"#, now() + 3600);
    for claims in [
        json!({"exp": exp, "pipecast": [["*"], ["*"]]}),
        json!({"exp": exp, "pipecast": [["*"], ["*"], ["a"]]}),
        json!([exp, 0, "us", "broker", "jti-of-the-test", all()]),
        json!([exp, 0, "us", "broker", "jti-of-the-test", [["*"], ["*"]]]),
        json!({"exp": exp, "pipecast": {"publish": [["*"]], "subscribe": [["*"]]}}),
    ] {
        assert_good_for_nothing(&node, &hs256_of_text(header, &claims.to_string())).await;
    }
    for absent in 0..=14 {
        let header = Value::from([vec![json!("JWT"), json!("HS256")], vec![Value::Null; absent]].concat());
        assert_good_for_nothing(&node, &hs256_of_text(&header.to_string(), &claims(all()).to_string())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_is_there_twice_opens_nothing() {
    let node = node().await;
    let (header, exp) = (r#"{"alg":"HS256"}"#, now() + 3600);
    let all = all();
    for claims in [
        format!(r#"{{"exp":1,"exp":{exp},"pipecast":{all}}}"#),
        format!(r#"{{"exp":{exp},"jti":"a","jti":"b","pipecast":{all}}}"#),
        format!(r#"{{"exp":{exp},"nbf":0,"nbf":0,"pipecast":{all}}}"#),
        format!(r#"{{"exp":{exp},"pipecast":{{}},"pipecast":{all}}}"#),
        format!(r#"{{"exp":{exp},"pipecast":{{"publish":["*"],"subscribe":["q"],"subscribe":["*"]}}}}"#),
    ] {
        assert_good_for_nothing(&node, &hs256_of_text(header, &claims)).await;
    }
    let good = claims(all).to_string();
    for header in [r#"{"alg":"none","alg":"HS256"}"#, r#"{"alg":"HS256","kid":"a","kid":"b"}"#] {
        assert_good_for_nothing(&node, &hs256_of_text(header, &good)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_a_time_that_no_calendar_has_opens_nothing() {
    let node = node().await;
    let (milliseconds, all) = (now() * 1000, all());
    for moment in ["1e20", "1e300", "18446744073709551616", "253402300800", &milliseconds.to_string()] {
        for claims in [
            format!(r#"{{"exp":{moment},"pipecast":{all}}}"#),
            format!(r#"{{"exp":{},"nbf":{moment},"pipecast":{all}}}"#, now() + 3600),
        ] {
            assert_good_for_nothing(&node, &hs256_of_text(r#"{"alg":"HS256"}"#, &claims)).await;
        }
    }
    // The last second of the last year with four digits.
    let token = hs256(&with(claims(all), "exp", json!(253_402_300_799_u64)));
    let mut stream = node.open("p", &format!("?token={token}")).await;
    publish(&node, "p", "a", json!(1), &token).await;
    assert_eq!(stream.numbers(1).await, [1]);
}
