//! Chooses between the page and JSON where one address has both, by `Accept` (RFC 9110, 12.5.1).

use hyper::header::{self, HeaderMap};

use super::weight::{WHOLE, Weight, weight};

/// How specifically a range names a type: as `*/*`, as `text/*`, or in full. Greater is more specific.
type Closeness = u8;

/// Whether the client prefers the page. Of two equal weights JSON wins, unless the page is named more specifically:
/// `text/html, */*` gets the page, `*/*` does not.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let (page, json) = (wish(headers, "text", "html"), wish(headers, "application", "json"));
    page.0 > 0 && page > json
}

/// The weight of a type, and how specifically its range names it. The most specific range counts, the first of several.
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

/// A range of types and its weight; `None` if the weight is malformed, as if the range were absent.
fn element(text: &str) -> Option<(&str, Weight)> {
    let (range, parameters) = text.split_once(';').unwrap_or((text, ""));
    let given = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let weight = given.map_or(Some(WHOLE), |(_, value)| weight(value.trim()))?;
    Some((range.trim(), weight))
}
