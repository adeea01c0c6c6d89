//! Whether a client wants a page or JSON where one address has both, by its `Accept` (RFC 9110, 12.5.1).

use hyper::header::{self, HeaderMap};

use super::weight::{WHOLE, Weight, weight};

/// How closely a range names a type: by `*/*`, by `text/*`, or as it is. Greater is closer.
type Closeness = u8;

/// Whether a page is wanted. Where both are wanted alike it is JSON, unless the page is named more closely:
/// `text/html, */*` is a wish for a page, and `*/*` is none.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let (page, json) = (wish(headers, "text", "html"), wish(headers, "application", "json"));
    page.0 > 0 && page > json
}

/// The weight of a type, and how closely the range that gives it names it. The closest one counts, of several the first.
fn wish(headers: &HeaderMap, kind: &str, subtype: &str) -> (Weight, Closeness) {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best: Option<(Weight, Closeness)> = None;
    for (range, weight) in values.flat_map(|value| value.split(',')).filter_map(element) {
        let Some((of_kind, of_subtype)) = range.split_once('/') else { continue };
        let closeness = match (of_kind, of_subtype) {
            (a, b) if a.eq_ignore_ascii_case(kind) && b.eq_ignore_ascii_case(subtype) => 3,
            (a, "*") if a.eq_ignore_ascii_case(kind) => 2,
            ("*", "*") => 1,
            _ => continue,
        };
        if best.is_none_or(|(_, best)| closeness > best) {
            best = Some((weight, closeness));
        }
    }
    best.unwrap_or((0, 0))
}

/// A range of types and its weight; `None` where the weight is none, as if the range were not there.
fn element(text: &str) -> Option<(&str, Weight)> {
    let (range, parameters) = text.split_once(';').unwrap_or((text, ""));
    let given = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let weight = given.map_or(Some(WHOLE), |(_, value)| weight(value.trim()))?;
    Some((range.trim(), weight))
}
