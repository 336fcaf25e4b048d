//! Ranges of semantic versions, in the notation of the Masterminds library that Flux uses: `>=1.2 <2`,
//! `1.2 - 1.4`, `1.x`, `~1.2`, `^1 || 3.x`.
//!
//! The shape is judged here, which versions are in a range is not: that is for Flux.

use std::fmt;

/// The longest range, in bytes.
pub const MAX_RANGE: usize = 256;
/// The most digits of one number; all such numbers fit 64 bits.
const MAX_DIGITS: usize = 18;

/// A range of versions, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SemverRange<'a>(&'a str);

/// Why a text is not accepted as a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SemverError {
    /// Nothing there, or nothing beside a `||` or a comma.
    #[error("a version is missing; write a range as in 1.x or >=1.2.0 <2.0.0")]
    Empty,
    /// More than [`MAX_RANGE`] bytes.
    #[error("the range has more than {MAX_RANGE} characters")]
    TooLong,
    /// Something that no range has.
    #[error("the range has {}, which is not allowed", super::shown(*.0))]
    BadCharacter(char),
    /// An operator other than those known.
    #[error("unknown operator; there are =, !=, >, <, >=, <=, ~ and ^")]
    Operator,
    /// Not one to three numbers joined by dots, with `x` or `*` only at the end.
    #[error("a version is one to three numbers joined by dots, the last of which may be x or *")]
    Version,
    /// Leading zeros, or a number of more than 18 digits.
    #[error("a number in the version has leading zeros or too many digits")]
    Number,
    /// An empty or ill-formed part behind `-` or `+`.
    #[error("the part of the version behind `-` or `+` is malformed")]
    Suffix,
    /// `-` between versions that are not two plain ones.
    #[error("a hyphen with spaces around it stands between two versions without operators")]
    Hyphen,
}

impl<'a> SemverRange<'a> {
    /// Reads a range.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, SemverError> {
        if text.len() > MAX_RANGE {
            return Err(SemverError::TooLong);
        }
        if let Some(found) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || " .,-+*=!<>~^|".contains(*c))) {
            return Err(SemverError::BadCharacter(found));
        }
        text.split("||").try_for_each(check_all)?;
        Ok(Self(text))
    }

    /// The text, byte for byte.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Display for SemverRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What stands between two `||`: constraints that all must hold, joined by commas or spaces.
fn check_all(text: &str) -> Result<(), SemverError> {
    if text.contains('|') {
        return Err(SemverError::BadCharacter('|'));
    }
    for part in text.split(',') {
        let mut words = part.split(' ').filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            return Err(SemverError::Empty);
        }
        while let Some(word) = words.next() {
            if word == "-" {
                return Err(SemverError::Hyphen);
            }
            let version = word.trim_start_matches(['=', '!', '<', '>', '~', '^']);
            let operator = &word[..word.len() - version.len()];
            if !matches!(operator, "" | "=" | "!=" | ">" | "<" | ">=" | "=>" | "<=" | "=<" | "~" | "~>" | "^") {
                return Err(SemverError::Operator);
            }
            // A space between the operator and its version is fine.
            let version = match version {
                "" => words.next().ok_or(SemverError::Empty)?,
                version => version,
            };
            check_version(version)?;
            if words.next_if_eq(&"-").is_some() {
                let upper = words.next().ok_or(SemverError::Hyphen)?;
                if !operator.is_empty() {
                    return Err(SemverError::Hyphen);
                }
                check_version(upper)?;
            }
        }
    }
    Ok(())
}

fn check_version(text: &str) -> Result<(), SemverError> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (numbers, pre) = match text.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (text, None),
    };
    let mut count = 0;
    let mut wild = false;
    for number in numbers.split('.') {
        count += 1;
        match number {
            "x" | "X" | "*" => wild = true,
            // Behind a wildcard a number means nothing.
            _ if wild => return Err(SemverError::Version),
            _ if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(SemverError::Version);
            }
            _ if number.len() > MAX_DIGITS || (number.len() > 1 && number.starts_with('0')) => {
                return Err(SemverError::Number);
            }
            _ => {}
        }
    }
    if count > 3 {
        return Err(SemverError::Version);
    }
    for suffix in [pre, build].into_iter().flatten() {
        let fits = suffix
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        if !fits {
            return Err(SemverError::Suffix);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_shapes_of_masterminds_constraints() {
        for text in [
            "*",
            "x",
            "1",
            "v1.2",
            "1.2.3",
            "1.x",
            "1.2.X",
            "1.*.*",
            ">=1.2.0 <2.0.0",
            ">= 1.2, < 2",
            "1.2 - 1.4.5",
            "~1.2",
            "~>1.2",
            "^0.3",
            "!=1.0.0",
            "=>1",
            "^1 || 3.x",
            "1.0.0-rc.1",
            ">=1.0.0-0",
            "1.0.0+build.5",
            "1.0.0-a-b.1+x-y",
            " 1.x ",
        ] {
            assert_eq!(SemverRange::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn denies_everything_else() {
        for (text, error) in [
            ("", SemverError::Empty),
            (" ", SemverError::Empty),
            ("||", SemverError::Empty),
            ("1 ||", SemverError::Empty),
            ("1,,2", SemverError::Empty),
            (">=", SemverError::Empty),
            ("1 | 2", SemverError::BadCharacter('|')),
            ("latest", SemverError::Version),
            ("1.2.3.4", SemverError::Version),
            ("1.", SemverError::Version),
            (".1", SemverError::Version),
            ("1.x.3", SemverError::Version),
            ("-1", SemverError::Version),
            ("01.2", SemverError::Number),
            ("1.0000000000000000000000", SemverError::Number),
            ("1.0.0-", SemverError::Suffix),
            ("1.0.0-a..b", SemverError::Suffix),
            ("1.0.0+", SemverError::Suffix),
            ("==1", SemverError::Operator),
            ("><1", SemverError::Operator),
            ("- 1", SemverError::Hyphen),
            ("1 -", SemverError::Hyphen),
            (">1 - 2", SemverError::Hyphen),
            ("1\n2", SemverError::BadCharacter('\n')),
            ("1;2", SemverError::BadCharacter(';')),
            ("\u{ff11}", SemverError::BadCharacter('\u{ff11}')),
        ] {
            assert_eq!(SemverRange::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(SemverRange::parse(&"1".repeat(MAX_RANGE + 1)), Err(SemverError::TooLong));
    }
}
