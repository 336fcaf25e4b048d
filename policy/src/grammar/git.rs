//! References of Git: branches, tags and commits, by the rules of `git check-ref-format`.

use std::fmt;

/// The longest name of a branch or tag, in bytes. Git stores references as files.
pub const MAX_REF: usize = 244;

/// Why a text is not accepted as a branch, tag or commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_REF`] bytes.
    #[error("it has more than {MAX_REF} characters")]
    TooLong,
    /// A leading `-`, which a command line takes for an option.
    #[error("it begins with `-`")]
    LeadingDash,
    /// `HEAD` or `@`, which mean something else to Git.
    #[error("HEAD and @ are names of Git's own")]
    Reserved,
    /// `..`
    #[error("it has two dots in a row")]
    DotDot,
    /// A part between slashes that begins with a dot, or a dot at the end.
    #[error("a part begins with a dot, or it ends with one")]
    Dot,
    /// A part between slashes that ends with `.lock`.
    #[error("a part ends with .lock")]
    Lock,
    /// `//`, or a slash at an edge.
    #[error("it has an empty part: a slash at the beginning or end, or two in a row")]
    Slash,
    /// `@{`
    #[error("it has `@{{`")]
    AtBrace,
    /// One of `~^:?*[\`, a space, a control character or one that cannot be seen.
    #[error("it has {}, which is not allowed", super::shown(*.0))]
    BadCharacter(char),
    /// Not 40 or 64 lowercase hexadecimal digits.
    #[error("a commit is 40 (or, with SHA-256, 64) lowercase hexadecimal digits, in full")]
    Commit,
}

fn check_ref(text: &str) -> Result<(), GitError> {
    if text.is_empty() {
        return Err(GitError::Empty);
    }
    if text.len() > MAX_REF {
        return Err(GitError::TooLong);
    }
    if let Some(found) =
        text.chars().find(|c| matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\') || super::is_invisible(*c))
    {
        return Err(GitError::BadCharacter(found));
    }
    if text.starts_with('-') {
        return Err(GitError::LeadingDash);
    }
    if matches!(text, "HEAD" | "@") {
        return Err(GitError::Reserved);
    }
    if text.contains("..") {
        return Err(GitError::DotDot);
    }
    if text.contains("@{") {
        return Err(GitError::AtBrace);
    }
    for part in text.split('/') {
        if part.is_empty() {
            return Err(GitError::Slash);
        }
        if part.starts_with('.') {
            return Err(GitError::Dot);
        }
        if part.ends_with(".lock") {
            return Err(GitError::Lock);
        }
    }
    if text.ends_with('.') {
        return Err(GitError::Dot);
    }
    Ok(())
}

fn check_commit(text: &str) -> Result<(), GitError> {
    let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex && matches!(text.len(), 40 | 64) { Ok(()) } else { Err(GitError::Commit) }
}

macro_rules! git_ref {
    ($(#[$doc:meta])* $type:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type<'a>(&'a str);

        impl<'a> $type<'a> {
            /// Reads it.
            ///
            /// # Errors
            /// Says what is wrong.
            pub fn parse(text: &'a str) -> Result<Self, GitError> {
                $check(text).map(|()| Self(text))
            }

            /// The text, byte for byte.
            #[must_use]
            pub fn as_str(&self) -> &'a str {
                self.0
            }
        }

        impl fmt::Display for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
    };
}

git_ref!(
    /// The name of a branch, without `refs/heads/`.
    GitBranch,
    check_ref
);
git_ref!(
    /// The name of a tag, without `refs/tags/`.
    GitTag,
    check_ref
);
git_ref!(
    /// The full id of a commit: 40 or 64 lowercase hexadecimal digits.
    CommitSha,
    check_commit
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_git_accepts() {
        for text in [
            "main",
            "feature/x-1",
            "release-1.2",
            "v1.0.0",
            "a@b",
            "ü",
            "x{y}",
            "a.lock.b",
            "dependabot/npm_and_yarn/x-1.2.3",
        ] {
            assert_eq!(GitBranch::parse(text).unwrap().as_str(), text);
            assert_eq!(GitTag::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn denies_what_git_denies_and_what_looks_like_an_option() {
        for (text, error) in [
            ("", GitError::Empty),
            ("-x", GitError::LeadingDash),
            ("--upload-pack=x", GitError::LeadingDash),
            ("HEAD", GitError::Reserved),
            ("@", GitError::Reserved),
            ("a..b", GitError::DotDot),
            ("../a", GitError::DotDot),
            (".a", GitError::Dot),
            ("a/.b", GitError::Dot),
            ("a.", GitError::Dot),
            ("a.lock", GitError::Lock),
            ("a.lock/b", GitError::Lock),
            ("/a", GitError::Slash),
            ("a/", GitError::Slash),
            ("a//b", GitError::Slash),
            ("a@{1}", GitError::AtBrace),
            ("a b", GitError::BadCharacter(' ')),
            ("a~1", GitError::BadCharacter('~')),
            ("a^", GitError::BadCharacter('^')),
            ("a:b", GitError::BadCharacter(':')),
            ("a?", GitError::BadCharacter('?')),
            ("a*", GitError::BadCharacter('*')),
            ("a[", GitError::BadCharacter('[')),
            ("a\\b", GitError::BadCharacter('\\')),
            ("a\0", GitError::BadCharacter('\0')),
            ("a\x7f", GitError::BadCharacter('\x7f')),
            ("a\n", GitError::BadCharacter('\n')),
            ("a\u{200d}", GitError::BadCharacter('\u{200d}')),
        ] {
            assert_eq!(GitBranch::parse(text), Err(error), "{text:?}");
            assert_eq!(GitTag::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(GitTag::parse(&"a".repeat(MAX_REF + 1)), Err(GitError::TooLong));
    }

    #[test]
    fn accepts_full_commits_only() {
        assert!(CommitSha::parse(&"0a".repeat(20)).is_ok());
        assert!(CommitSha::parse(&"0a".repeat(32)).is_ok());
        for text in ["", "0a0a0a0", &"0A".repeat(20), &"0g".repeat(20), &"0".repeat(41), &"0".repeat(63)] {
            assert_eq!(CommitSha::parse(text), Err(GitError::Commit), "{text}");
        }
    }
}
