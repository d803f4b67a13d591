//! Numbers as Java reads them from text.

/// `Integer.valueOf`.
pub(super) fn int(text: &[u8]) -> Option<i32> {
    // Rust takes the same forms: an optional sign and digits, nothing else.
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `Long.valueOf`.
pub(super) fn long(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `Double.valueOf`, but for hexadecimal text.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1.0, rest),
        [b'+', rest @ ..] => (1.0, rest),
        _ => (1.0, text),
    };
    match digits {
        b"NaN" => return Some(f64::NAN),
        b"Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = digits.strip_suffix(b"d").or(digits.strip_suffix(b"D")).unwrap_or_else(|| {
        digits.strip_suffix(b"f").or(digits.strip_suffix(b"F")).unwrap_or(digits)
    });
    // Rust also reads words such as `inf`, which begin with no digit.
    if !digits.first().is_some_and(|&byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let value: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(sign * value)
}

/// `String.trim`: everything up to a blank goes.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., 0..=b' '] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_a_sign_and_digits() {
        assert_eq!(int(b"+5"), Some(5));
        assert_eq!(int(b"-2147483648"), Some(i32::MIN));
        for none in [&b"2147483648"[..], b"", b"-", b" 5", b"5.0", b"5L", b"0x5"] {
            assert_eq!(int(none), None);
        }
        assert_eq!(long(b"2147483648"), Some(1 << 31));
    }

    #[test]
    fn fractions_have_the_forms_of_java() {
        for (text, value) in [
            ("5", 5.0),
            (" 5.5\t", 5.5),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-1f", 0.1),
            ("7d", 7.0),
            ("+7F", 7.0),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(double(text.as_bytes()), Some(value), "{text}");
        }
        assert!(double(b"NaN").unwrap().is_nan());
        for none in ["", "inf", "nan", "infinity", "--5", "5df", "e5", ".", "1_0", "5 5"] {
            assert_eq!(double(none.as_bytes()), None, "{none}");
        }
    }
}
