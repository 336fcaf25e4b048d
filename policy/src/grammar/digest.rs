//! Digests of content.

use std::fmt;

/// A `sha256:` digest with its 64 lowercase hexadecimal digits, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest<'a>(&'a str);

/// Why a text is not accepted as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:` in front.
    #[error("a digest is written as sha256: and 64 hexadecimal digits")]
    Format,
    /// An algorithm other than the ones that registries use.
    #[error("unsupported digest algorithm; use sha256")]
    Algorithm,
    /// The wrong number of digits for the algorithm.
    #[error("the digest has {found} digits in place of {wanted}")]
    Length {
        /// How many bytes follow the colon.
        found: usize,
        /// How many the algorithm has.
        wanted: usize,
    },
    /// Something other than `0`-`9` and `a`-`f`.
    #[error("the digest has {}; it is written in lowercase hexadecimal", super::shown(*.0))]
    BadCharacter(char),
}

impl<'a> Digest<'a> {
    /// Reads a digest.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, DigestError> {
        check(text)?;
        if text.starts_with("sha256:") { Ok(Self(text)) } else { Err(DigestError::Algorithm) }
    }

    /// The digest with its algorithm.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Display for Digest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The digests that an image reference may carry: sha256, sha384 and sha512, in lowercase hexadecimal.
pub(super) fn check(text: &str) -> Result<(), DigestError> {
    let (algorithm, digits) = text.split_once(':').ok_or(DigestError::Format)?;
    let wanted = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(DigestError::Algorithm),
    };
    if let Some(found) = digits.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
        return Err(DigestError::BadCharacter(found));
    }
    if digits.len() != wanted {
        return Err(DigestError::Length { found: digits.len(), wanted });
    }
    Ok(())
}

/// Whether the text is as long as a sha256 digest and as hexadecimal, without saying so.
pub(super) fn is_bare_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_a_sha256_digest_only() {
        let hex = "0123456789abcdef".repeat(4);
        let text = format!("sha256:{hex}");
        assert_eq!(Digest::parse(&text).unwrap().to_string(), text);
        for (text, error) in [
            (String::new(), DigestError::Format),
            (hex.clone(), DigestError::Format),
            (format!("md5:{hex}"), DigestError::Algorithm),
            (format!("SHA256:{hex}"), DigestError::Algorithm),
            (format!("sha512:{hex}{hex}"), DigestError::Algorithm),
            (format!("sha256:{}", &hex[1..]), DigestError::Length { found: 63, wanted: 64 }),
            (format!("sha256:{}", hex.to_uppercase()), DigestError::BadCharacter('A')),
            (format!("sha256:{}\n", &hex[1..]), DigestError::BadCharacter('\n')),
        ] {
            assert_eq!(Digest::parse(&text), Err(error), "{text:?}");
        }
    }
}
