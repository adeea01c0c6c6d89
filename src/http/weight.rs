//! Quality values in content negotiation (RFC 9110, 12.4.2).

/// A quality value in thousandths; 0 rejects.
pub(super) type Weight = u16;

/// The weight of an element without one.
pub(super) const WHOLE: Weight = 1000;

/// Parses `0` to `1`, with up to three decimals.
pub(super) fn weight(text: &str) -> Option<Weight> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_fraction = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{digits:0<3}").parse().ok().filter(|_| is_fraction)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(WHOLE),
        _ => None,
    }
}
