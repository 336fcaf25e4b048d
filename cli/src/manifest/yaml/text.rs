//! Bytes to text: the encodings that are refused, each with its own words.

use super::{Limits, Span, YamlError, YamlErrorKind};

/// Takes the bytes of a file for UTF-8 text.
///
/// # Errors
/// A text that is too large, UTF-16, with a byte order mark, with a NUL or not UTF-8; the
/// span points at the first byte that is wrong.
pub fn decode_text<'b>(bytes: &'b [u8], limits: &Limits) -> Result<&'b str, YamlError> {
    check_size(bytes.len(), limits)?;
    let first = Span { line: 1, column: 1, end_line: 1, end_column: 1, ..Span::default() };
    // Without a byte order mark, UTF-16 shows as a NUL beside the first character, which is
    // ASCII in every manifest.
    let utf16 = matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, 1..=0x7F, ..] | [1..=0x7F, 0, ..]);
    if utf16 {
        return Err(YamlError { kind: YamlErrorKind::Utf16, span: first });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            check_text(text)?;
            Ok(text)
        }
        Err(error) => {
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            // The bytes up to there are valid, so nothing is replaced.
            let valid = String::from_utf8_lossy(valid);
            check_text(&valid)?;
            Err(YamlError {
                kind: YamlErrorKind::InvalidUtf8 { byte: rest.first().copied().unwrap_or_default() },
                span: place_of(&valid, valid.len(), 1),
            })
        }
    }
}

pub(super) fn check_size(bytes: usize, limits: &Limits) -> Result<(), YamlError> {
    let limit = limits.bytes.min(u32::MAX as usize - 1);
    if bytes > limit {
        return Err(YamlError { kind: YamlErrorKind::TooLarge { limit }, span: place_of("", 0, 0) });
    }
    Ok(())
}

pub(super) fn check_text(text: &str) -> Result<(), YamlError> {
    if text.starts_with('\u{FEFF}') {
        return Err(YamlError { kind: YamlErrorKind::ByteOrderMark, span: place_of(text, 0, '\u{FEFF}'.len_utf8()) });
    }
    if let Some(at) = text.find('\0') {
        return Err(YamlError { kind: YamlErrorKind::Nul, span: place_of(text, at, 1) });
    }
    Ok(())
}

/// The span of `length` bytes, one character, at the byte `at`.
fn place_of(text: &str, at: usize, length: usize) -> Span {
    let before = &text[..at];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Span {
        start: narrow(at),
        end: narrow(at + length),
        line: narrow(line),
        column: narrow(column),
        end_line: narrow(line),
        end_column: narrow(column + usize::from(length > 0)),
    }
}
