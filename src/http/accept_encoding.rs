//! Chooses the content coding by `Accept-Encoding` (RFC 9110, 12.5.3).

use hyper::header::{self, HeaderMap};

use super::weight::{WHOLE, Weight, weight};
use crate::stream::content_encoding::ContentEncoding;

/// Gzip if the client accepts it and does not prefer no coding.
pub(super) fn choose(headers: &HeaderMap) -> ContentEncoding {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for (coding, weight) in value.to_str().unwrap_or_default().split(',').filter_map(element) {
            match &*coding.to_ascii_lowercase() {
                "gzip" | "x-gzip" => gzip = Some(weight),
                "identity" => identity = Some(weight),
                "*" => any = Some(weight),
                _ => {}
            }
        }
    }
    // A coding that is not named has the weight of `*`.
    let gzip = gzip.or(any).unwrap_or(0);
    if gzip > 0 && gzip >= identity.unwrap_or(0) { ContentEncoding::gzip() } else { ContentEncoding::Identity }
}

/// A coding and its weight; `None` if the element is malformed, as if it were absent.
fn element(text: &str) -> Option<(&str, Weight)> {
    let mut parts = text.split(';').map(str::trim);
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let Some(parameter) = parts.next() else { return Some((coding, WHOLE)) };
    let (name, value) = parameter.split_once('=')?;
    let is_weight = name.trim_end().eq_ignore_ascii_case("q") && parts.next().is_none();
    Some((coding, weight(value.trim_start()).filter(|_| is_weight)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn is_gzip(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        choose(&headers) != ContentEncoding::Identity
    }

    #[test]
    fn gzip_needs_an_accepting_header() {
        for yes in [
            "gzip",
            "gzip, deflate, br, zstd",
            "br;q=1.0,GZip;q=0.8 , *;q=0.1",
            "x-gzip",
            "*",
            "gzip;q=0.001",
            "gzip ; Q = 1.000",
            "identity;q=0.5, gzip;q=0.5",
            "*;q=0, gzip",
            ", gzip,,",
        ] {
            assert!(is_gzip(&[yes]), "{yes:?}");
        }
        assert!(is_gzip(&["br", "gzip"]));
        for no in [
            "",
            "identity",
            "deflate, br",
            "gzip;q=0",
            "gzip;q=0.000",
            "*;q=0",
            "*, gzip;q=0",
            "identity, gzip;q=0.9",
            "gzipped",
            "gzip;q=2",
            "gzip;q=0.0001",
            "gzip;q=-1",
            "gzip;q=+1",
            "gzip;q=",
            "gzip;q",
            "gzip;level=1",
            "gzip;q=1;level=1",
        ] {
            assert!(!is_gzip(&[no]), "{no:?}");
        }
        assert!(!is_gzip(&[]));
    }

    proptest! {
        #[test]
        fn arbitrary_headers_are_read(value in "[ -~]{0,60}") {
            is_gzip(&[&value]);
        }
    }
}
