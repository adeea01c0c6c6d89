//! Numbers in the format of reports for people: separated thousands, short fractions, units that fit.

/// A count with separated thousands.
pub(in crate::cli) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, or another number whose fraction matters only while it is small.
pub(in crate::cli) fn rate(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let whole = format!("{number:.0}");
    whole.parse().map_or(whole, count)
}

/// A time in the unit that fits.
pub(in crate::cli) fn time(micros: f64) -> String {
    match micros {
        micros if micros < 1e3 => format!("{micros:.0} µs"),
        micros if micros < 1e5 => format!("{:.2} ms", micros / 1e3),
        micros if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// Bytes in the unit that fits.
pub(in crate::cli) fn bytes(number: f64) -> String {
    match number.abs() {
        size if size < 1024.0 => format!("{number:.0} B"),
        size if size < 1024.0 * 1024.0 => format!("{:.2} KiB", number / 1024.0),
        size if size < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", number / 1024.0 / 1024.0),
        _ => format!("{:.1} GiB", number / 1024.0 / 1024.0 / 1024.0),
    }
}

/// Bits per second in the unit that fits.
pub(in crate::cli) fn bits(number: f64) -> String {
    match number {
        number if number < 1e6 => format!("{:.1} kbit/s", number / 1e3),
        number if number < 1e9 => format!("{:.1} Mbit/s", number / 1e6),
        number => format!("{:.1} Gbit/s", number / 1e9),
    }
}

/// A share as a percentage.
pub(in crate::cli) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.04, 99.94, 31_415.9].map(rate), ["0.0", "99.9", "31,416"]);
        assert_eq!([7.4, 1234.0, 250_000.0, 2.5e6].map(time), ["7 µs", "1.23 ms", "250 ms", "2.50 s"]);
        assert_eq!([12.0, 1536.0, -3e6, 3e9].map(bytes), ["12 B", "1.50 KiB", "-2.9 MiB", "2.8 GiB"]);
        assert_eq!([1500.0, 2.5e7, 1e10].map(bits), ["1.5 kbit/s", "25.0 Mbit/s", "10.0 Gbit/s"]);
        assert_eq!(percent(0.1234), "12.3 %");
    }
}
