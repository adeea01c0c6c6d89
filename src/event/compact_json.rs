//! Compact JSON: a payload's text on one line, with the same value.

/// Why a payload is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidPayload {
    /// Arrays and objects are nested deeper than the limit.
    TooDeep,
}

/// Appends `json` to `out` without the white space between its tokens.
///
/// Strings, numbers and the order of keys are kept byte for byte. `json` must be valid JSON (RFC 8259). Valid JSON has no line
/// break inside a string, so the result is one line. `max_depth` counts arrays and objects; a scalar has depth 0.
///
/// # Errors
/// [`InvalidPayload::TooDeep`]; `out` then holds part of the payload.
pub(super) fn compact(json: &str, max_depth: usize, out: &mut Vec<u8>) -> Result<(), InvalidPayload> {
    let bytes = json.as_bytes();
    let mut depth = 0usize;
    let mut is_string = false;
    let mut run_starts = 0;
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        match byte {
            // An escape is two bytes: \" does not end the string.
            b'\\' if is_string => index += 1,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > max_depth {
                    return Err(InvalidPayload::TooDeep);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {
                out.extend_from_slice(&bytes[run_starts..index]);
                run_starts = index + 1;
            }
            _ => {}
        }
        index += 1;
    }
    out.extend_from_slice(&bytes[run_starts..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compacted(json: &str) -> String {
        let mut out = Vec::new();
        compact(json, 128, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_white_space_between_tokens_is_removed() {
        fn check(json: &str, expected: &str) {
            assert_eq!(compacted(json), expected);
        }
        check(" 1 ", "1");
        check("{ \"a b\" :\n [ 1 , 2.50e+03 ,\t\"x \\\" y\" ] }\r\n", r#"{"a b":[1,2.50e+03,"x \" y"]}"#);
        check(r#""\\ ""#, r#""\\ ""#);
        check("123456789012345678901234567890.1234567890", "123456789012345678901234567890.1234567890");
        check(r#"{"b":1,"a":2,"b":3}"#, r#"{"b":1,"a":2,"b":3}"#);
    }

    #[test]
    fn depth_counts_arrays_and_objects() {
        let check = |json: &str, limit, expected| assert_eq!(compact(json, limit, &mut Vec::new()), expected, "{json}");
        check("1", 0, Ok(()));
        check("[]", 0, Err(InvalidPayload::TooDeep));
        check(r#"[[1],[2],{"a":3}]"#, 2, Ok(()));
        check(r#"[[1],[{"a":3}]]"#, 2, Err(InvalidPayload::TooDeep));
        check(r#""[[[[""#, 0, Ok(()));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn compacting_the_pretty_form_gives_what_serde_json_writes(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compacted(&pretty), serde_json::to_string(&value).unwrap());
        }
    }
}
