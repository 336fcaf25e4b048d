//! What a plain scalar means, to every reader that matters.
//!
//! Kubernetes reads YAML 1.1 (as its Go library has it), most other tools read the core
//! schema of YAML 1.2. Where both read the same there is one meaning; where they differ
//! the text is [`Disputed`](Plain::Disputed), and nobody here picks a side.

/// The meaning of an unquoted scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plain {
    /// Text in both.
    Text,
    /// Nothing, `~` or `null`.
    Null,
    /// A boolean in both; `canonical` where it is written `true` or `false`.
    Bool {
        /// The boolean.
        value: bool,
        /// Whether it is written in the one spelling that JSON has.
        canonical: bool,
    },
    /// An integer in both, with the same value.
    Integer(i128),
    /// A floating-point number in both, or an integer too large for [`Plain::Integer`].
    Float(f64),
    /// The two read it differently.
    Disputed {
        /// What YAML 1.1 makes of it: "true", "83", "90" (sexagesimal).
        yaml_1_1: &'static str,
        /// What YAML 1.2 makes of it.
        yaml_1_2: &'static str,
    },
}

const BOOLEAN: &str = "a boolean";
const NUMBER: &str = "a number";
const OTHER_NUMBER: &str = "another number";
const TEXT: &str = "text";

/// Says what the unquoted scalar `text` means.
#[must_use]
pub fn resolve(text: &str) -> Plain {
    let Some(&first) = text.as_bytes().first() else {
        return Plain::Null;
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => number(text),
        b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'o' | b'O' => word(text),
        _ => Plain::Text,
    }
}

fn word(text: &str) -> Plain {
    match text {
        "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Bool { value: true, canonical: text == "true" },
        "false" | "False" | "FALSE" => Plain::Bool { value: false, canonical: text == "false" },
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off"
        | "OFF" => Plain::Disputed { yaml_1_1: BOOLEAN, yaml_1_2: TEXT },
        _ => Plain::Text,
    }
}

fn number(text: &str) -> Plain {
    let (negative, digits) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = digits.len() != text.len();
    let Some(&first) = digits.as_bytes().first() else {
        return Plain::Text;
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Plain::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if !signed && matches!(digits, ".nan" | ".NaN" | ".NAN") {
        return Plain::Float(f64::NAN);
    }
    if !first.is_ascii_digit() && first != b'.' {
        return Plain::Text;
    }
    if let Some(prefixed) = radix(digits, negative, signed) {
        return prefixed;
    }
    if digits.contains('_') {
        // Only YAML 1.1 has separators; it drops them wherever they are.
        let bare = digits.replace('_', "");
        return match number(&bare) {
            Plain::Text | Plain::Null => Plain::Text,
            _ => Plain::Disputed { yaml_1_1: NUMBER, yaml_1_2: TEXT },
        };
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if first == b'0' && digits.len() > 1 {
            // 0123 is 83 to YAML 1.1 and 123 to YAML 1.2; 089 is no octal number, and what
            // is made of it (text, 89, 89.0) depends on the library.
            return Plain::Disputed { yaml_1_1: "an octal number", yaml_1_2: "a decimal number" };
        }
        return match digits.parse::<i128>() {
            Ok(value) => Plain::Integer(if negative { -value } else { value }),
            Err(_) => Plain::Float(text.parse().unwrap_or(f64::INFINITY)),
        };
    }
    if is_decimal(digits) {
        // A decimal as checked above is one to Rust too.
        return text.parse().map_or(Plain::Text, Plain::Float);
    }
    if is_sexagesimal(digits) {
        return Plain::Disputed { yaml_1_1: NUMBER, yaml_1_2: TEXT };
    }
    Plain::Text
}

/// `0x…`, `0o…` and `0b…`; `None` where the digits have no such prefix.
fn radix(digits: &str, negative: bool, signed: bool) -> Option<Plain> {
    let body = digits.strip_prefix('0')?;
    let radix = match body.as_bytes().first()? {
        b'x' | b'X' => 16,
        b'o' | b'O' => 8,
        b'b' | b'B' => 2,
        _ => return None,
    };
    let body = &body[1..];
    let bare = body.replace('_', "");
    if bare.is_empty() || !bare.chars().all(|character| character.is_digit(radix)) {
        return Some(Plain::Text);
    }
    let lower = digits.as_bytes()[1].is_ascii_lowercase();
    // Unsigned hexadecimal is the one form that both know, with the same value.
    if radix == 16 && lower && !signed && bare.len() == body.len() {
        return Some(match i128::from_str_radix(body, 16) {
            Ok(value) => Plain::Integer(if negative { -value } else { value }),
            Err(_) => Plain::Disputed { yaml_1_1: NUMBER, yaml_1_2: OTHER_NUMBER },
        });
    }
    Some(Plain::Disputed {
        yaml_1_1: NUMBER,
        yaml_1_2: if radix == 8 && lower && !signed { OTHER_NUMBER } else { TEXT },
    })
}

/// `1.5`, `.5`, `1.`, `1e3`, `1.5E-3`: both schemas, sign already taken off.
fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fine = match mantissa.split_once('.') {
        Some((whole, part)) => all_digits(whole) && all_digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    mantissa_fine
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && all_digits(exponent)
        })
}

/// `1:30`, `1:30:00.5`: base sixty in YAML 1.1, where each later part is below sixty.
fn is_sexagesimal(digits: &str) -> bool {
    let whole = match digits.split_once('.') {
        Some((whole, part)) if part.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        Some(_) => return false,
        None => digits,
    };
    let mut parts = whole.split(':');
    let head = parts.next().is_some_and(|head| !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_digit()));
    let mut count = 0;
    head && parts.all(|part| {
        count += 1;
        matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    }) && count > 0
}

/// Whether the text `text`, written without quotes, is read as that very text by every
/// reader, in block and in flow collections alike: what may be written plain.
#[must_use]
pub fn is_safe_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let inner_fine = text.chars().all(|character| {
        character.is_ascii_alphanumeric()
            || matches!(character, '-' | '_' | '.' | '/' | '@' | ':' | '+' | '$' | '(' | ')' | '=' | '~' | '*' | '^')
    });
    inner_fine
        && (first.is_ascii_alphanumeric() || matches!(first, '.' | '/' | '_' | '$' | '^'))
        && !text.ends_with(':')
        && text != "..."
        && resolve(text) == Plain::Text
        && !looks_like_a_date(text)
}

/// `2024-01-02`, with or without a time: text to Kubernetes, a timestamp to others.
fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[5].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_disputed(text: &str) -> bool {
        matches!(resolve(text), Plain::Disputed { .. })
    }

    #[test]
    fn agrees_with_both_schemas_where_they_agree() {
        for (text, meaning) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("NULL", Plain::Null),
            ("nUll", Plain::Text),
            ("0", Plain::Integer(0)),
            ("-0", Plain::Integer(0)),
            ("-12", Plain::Integer(-12)),
            ("+12", Plain::Integer(12)),
            ("0x1F", Plain::Integer(31)),
            ("18446744073709551615", Plain::Integer(u64::MAX.into())),
            ("1.5", Plain::Float(1.5)),
            (".5", Plain::Float(0.5)),
            ("1.", Plain::Float(1.0)),
            ("1e3", Plain::Float(1000.0)),
            ("-1.5E-1", Plain::Float(-0.15)),
            ("-.inf", Plain::Float(f64::NEG_INFINITY)),
            (".INF", Plain::Float(f64::INFINITY)),
            ("1234567e8", Plain::Float(1_234_567e8)),
        ] {
            assert_eq!(resolve(text), meaning, "{text}");
        }
        assert!(matches!(resolve(".NaN"), Plain::Float(value) if value.is_nan()));
        assert_eq!(resolve("TRUE"), Plain::Bool { value: true, canonical: false });
    }

    #[test]
    fn leaves_text_alone() {
        for text in [
            "a",
            "yess",
            "main",
            "1.2.3",
            "v1",
            "1m",
            "5m",
            "-",
            "--",
            "+",
            ".",
            "..",
            "./",
            "1e",
            "1.5.e3",
            "e3",
            "0x",
            "0xZZ",
            "0b2",
            "0o8",
            "-a",
            "1:",
            ":30",
            "1:60",
            "1:5x",
            "1-2",
            "2024-01-02",
            "sha256:12",
            "_1",
            "inf",
            ".infx",
            "-.nan",
            "=",
            "null.",
            "127.0.0.1",
            "1_a",
            "é",
            "TrUe",
        ] {
            assert_eq!(resolve(text), Plain::Text, "{text}");
        }
    }

    #[test]
    fn never_picks_a_side() {
        for text in [
            "y", "Y", "yes", "No", "OFF", "on", "n", "0123", "-0123", "00", "089", "1_000", "1_0.5", "1:30",
            "22:22:22", "1:30.5", "0b101", "0o17", "-0x1F", "0x_1F", "0X1F", "1_", "0x1F_",
        ] {
            assert!(is_disputed(text), "{text}: {:?}", resolve(text));
        }
    }

    #[test]
    fn writes_plain_only_what_every_reader_takes_for_that_text() {
        for text in [
            "main",
            "./",
            "./deploy",
            "prod-eu",
            "5m",
            "v1.2.3",
            "https://git.example.com/a.git",
            "team_a",
            "a*",
            "10.0.0.1",
        ] {
            assert!(is_safe_plain(text), "{text}");
        }
        for text in [
            "",
            " a",
            "a ",
            "a b",
            "yes",
            "null",
            "1",
            "1.5",
            "0123",
            "1:30",
            "2024-01-02",
            "-a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "a:",
            "a: b",
            "a #b",
            "#a",
            "[a",
            "{a",
            "a,b",
            "?",
            "|",
            ">",
            "'",
            "\"",
            "`a",
            "...",
            "---",
            "é",
            "a\nb",
            "~",
            "=",
            ">=1.0",
        ] {
            assert!(!is_safe_plain(text), "{text}");
        }
    }
}
