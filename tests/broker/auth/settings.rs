//! Settings of access: decisions that must be made, secrets that must be good, and that nothing shows them.

use std::process::{Command, Output};

use super::issuer::{SECRET, key_path, key_text};

fn pipecast(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    // A node that starts by mistake would run forever.
    let mut command = Command::new("timeout");
    command.arg("30").arg(env!("CARGO_BIN_EXE_pipecast")).args(arguments).env_clear();
    for (name, value) in environment {
        command.env(format!("PIPECAST_AUTH__{name}"), value);
    }
    command.output().unwrap()
}

fn faults(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}

#[test]
fn away_from_loopback_somebody_must_have_decided() {
    let check = |listen: &str, environment: &[(&str, &str)], missing: &[&str]| {
        for command in ["serve", "config"] {
            if missing.is_empty() && command == "serve" {
                continue;
            }
            let output = pipecast(&[command, "--listen", listen], environment);
            let text = faults(&output);
            assert_eq!(output.status.code(), Some(if missing.is_empty() { 0 } else { 2 }), "{listen}: {text}");
            for key in missing {
                assert!(text.contains(&format!("{key}: must be set, because server.listen {listen}")), "{text}");
            }
            assert_eq!(text.matches("must be set").count(), missing.len(), "{text}");
        }
    };
    let both = ["auth.publish", "auth.subscribe"];
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
        check(listen, &[], &both);
        check(listen, &[("PUBLISH", "open")], &both[1..]);
        check(listen, &[("SUBSCRIBE", "token"), ("JWT_SECRET", SECRET)], &both[..1]);
        check(listen, &[("PUBLISH", "open"), ("SUBSCRIBE", "open")], &[]);
    }
    for listen in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        check(listen, &[], &[]);
    }
}

#[test]
fn bad_secrets_are_rejected_without_being_shown() {
    let keys = r#"[{name="backend", key="hunter2-hunter2-hunter2", publish=["p_*"]}]"#;
    let output = pipecast(&["config"], &[("KEYS", keys), ("JWT_SECRET", &format!("hunter2{SECRET}"))]);
    let text = faults(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("keys = \"***\"") && text.contains("jwt_secret = \"***\"") && !text.contains("hunter2"),
        "{text}"
    );

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let check = |environment: &[(&str, &str)], problem: &str| {
        let output = pipecast(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], environment);
        let text = faults(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{environment:?}");
        assert!(text.contains(problem), "{problem} in {text}");
        assert!(!text.contains("hunter2"), "{text}");
    };
    check(&[("KEYS", r#"[{name="a", key="hunter2", publish=["*"]}]"#)], "fewer than 16 characters");
    check(&[("KEYS", r#"[{name="a", key="hunter2hunter2hunter2, publish=["*"]}]"#)], "not valid TOML");
    check(&[("KEYS", "hunter2hunter2hunter2")], "not valid TOML");
    check(&[("JWT_SECRET", "hunter2-hunter2-hunter2")], "at least 32");
    check(&[("JWT_SECRET_FILE", &write("secret", "hunter2\n"))], "fewer than 32 bytes");
    check(
        &[("KEYS_FILE", &write("keys", "[[keys]]\nname = \"a\"\nkey = hunter2hunter2hunter2\n"))],
        "line 3 is not valid TOML",
    );
    check(
        &[("KEYS_FILE", &write("short", "[[keys]]\nname = \"a\"\nkey = \"hunter2\"\npublish = [\"*\"]\n"))],
        "fewer than 16",
    );
    check(&[("JWT_KEYS", &key_path("rsa.pem"))], "it holds a private key");
    check(&[("JWT_KEYS", &key_path("rsa1024.pub.pem"))], "key size");
    check(&[("JWT_KEYS", &key_path("p384.pub.pem"))], "curve is not supported");
    let pem = |name: &str| String::from_utf8(key_text(name)).unwrap();
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(&[("JWT_KEYS", &write("two.pem", &(pem("ec.pub.pem") + &pem("rsa1024.pub.pem"))))], "key 2 of 2: ");
    check(&[("JWT_KEYS", &write("more.pem", &(pem("ec.pub.pem") + certificate)))], "a CERTIFICATE");
    check(
        &[("JWT_KEYS", &write("cut.pem", &(pem("ec.pub.pem") + "-----BEGIN PUBLIC KEY-----\nAA")))],
        "cut off or damaged",
    );
    check(&[("JWT_KEYS", &write("nine.pem", &pem("ec.pub.pem").repeat(9)))], "9 keys without a `kid` for ES256");
    check(&[("JWT_KEYS", &write("no.pem", "hunter2"))], "no public key");
    check(&[("JWKS_FILE", &write("jwks", "{\"keys\": hunter2}"))], "not a JSON Web Key Set");
    check(&[("JWKS_FILE", &write("oct", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"aHVudGVyMg\"}]}"))], "key size");
    check(&[("JWKS_FILE", &write("array", "[[{\"kty\":\"oct\",\"k\":\"aHVudGVyMg\"}]]"))], "not a JSON Web Key Set");
    // An operator's own file, with one odd key among others.
    let good = super::issuer::NamedKey::new("good").entry();
    let mut odd = super::issuer::NamedKey::new("odd-one").entry();
    odd["x"] = serde_json::json!("hunter2");
    let set = serde_json::json!({"keys": [good, odd]}).to_string();
    check(&[("JWKS_FILE", &write("odd", &set))], "key 1 (kid `odd-one`)");
    check(&[("REVOCATION_FILE", &write("revoked", "first\n\"second\n"))], "line 2");
    check(&[("JWKS_MAX_AGE", "1s")], "auth.jwks_max_age");
    check(&[("JWKS_URL", "http://keys.example/jwks")], "https://");
    check(&[("JWKS_URL", "https://me:hunter2@keys.example/jwks")], "must not contain a password");
    check(&[("PUBLISH", "token")], "nothing to verify tokens with");
    check(&[("PUBLISH", "closed")], "`open` or `token`");
    check(&[("REVOCATION_FILE", "/nonexistent")], "does not exist");
}

#[test]
fn byte_order_mark_hides_nothing_in_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let marked = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, [b"\xef\xbb\xbf", text].concat()).unwrap();
        path.display().to_string()
    };
    let key = super::issuer::NamedKey::new("key");
    let claims = super::issuer::claims(super::issuer::all());
    let by_secret = super::issuer::hs256(&claims);
    let by_rsa = super::issuer::asymmetric("RS256", &claims);
    let static_key = "[[keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\npublish = [\"*\"]\n";
    let in_a_file = r#"[{name="a", key_file="FILE", publish=["*"]}]"#;
    for (environment, token) in [
        (("JWT_SECRET_FILE", marked("secret", SECRET.as_bytes())), &*by_secret),
        (("JWT_KEYS", marked("pem", &super::issuer::key_text("rsa.pub.pem"))), &*by_rsa),
        (("JWKS_FILE", marked("jwks", super::issuer::key_set(&[&key]).as_bytes())), &*key.token(&claims)),
        (("KEYS_FILE", marked("keys", static_key.as_bytes())), "0123456789abcdef"),
        (("KEYS", in_a_file.replace("FILE", &marked("key", b"0123456789abcdef\n"))), "0123456789abcdef"),
    ] {
        let output = pipecast(&["token", "inspect", token], &[(environment.0, &environment.1)]);
        assert_eq!(output.status.code(), Some(0), "{}: {}", environment.0, faults(&output));
    }
}

#[test]
fn broken_file_of_settings_is_told_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipecast.toml");
    std::fs::write(&file, "[auth]\njwt_secret = \"hunter2-hunter2\n").unwrap();
    let output = pipecast(&["config", "--config", &file.display().to_string()], &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = faults(&output);
    assert!(text.contains("line 2") && !text.contains("hunter2"), "{text}");
}
