//! How much a client wants one thing against another (RFC 9110, 12.4.2).

/// What a request says of one thing, in thousandths: 0 refuses it.
pub(super) type Weight = u16;

/// The weight of something that is given none.
pub(super) const WHOLE: Weight = 1000;

/// Reads `0` to `1`, with up to three digits after the point.
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
