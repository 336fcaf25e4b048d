//! Paths inside a repository or an artifact.

use std::fmt;

/// The longest path, in bytes.
pub const MAX_PATH: usize = 1024;

/// A relative path inside a repository, borrowed: `./`, `./apps/prod` or `apps/prod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepoPath<'a>(&'a str);

/// Why a text is not accepted as a path inside a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing there.
    #[error("the path is empty; write ./ for the whole repository")]
    Empty,
    /// More than [`MAX_PATH`] bytes.
    #[error("the path has more than {MAX_PATH} characters")]
    TooLong,
    /// A leading `/`.
    #[error("the path begins with `/`; it is relative to the repository")]
    Absolute,
    /// A leading `~`.
    #[error("the path begins with `~`; it is relative to the repository")]
    Tilde,
    /// `..`
    #[error("the path has a segment `..`")]
    DotDot,
    /// `.` other than the leading `./`.
    #[error("the path has a segment `.`; only ./ in front is allowed")]
    Dot,
    /// `//`
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    /// A trailing `/`.
    #[error("the path ends with `/`")]
    TrailingSlash,
    /// `\`
    #[error("the path has a backslash")]
    Backslash,
    /// A control character or one that cannot be seen.
    #[error("the path has {}, which cannot be seen", super::shown(*.0))]
    Invisible(char),
}

impl<'a> RepoPath<'a> {
    /// Reads a path.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        if !super::all(text, |byte| byte == b' ' || byte.is_ascii_graphic())
            && let Some(found) = text.chars().find(|c| super::is_invisible(*c))
        {
            return Err(PathError::Invisible(found));
        }
        if text.contains('\\') {
            return Err(PathError::Backslash);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let inner = text.strip_prefix("./").unwrap_or(text);
        if inner.is_empty() {
            return Ok(Self(text));
        }
        if inner.starts_with('~') {
            return Err(PathError::Tilde);
        }
        let mut segments = super::parts(inner, b'/').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "" if segments.peek().is_none() => return Err(PathError::TrailingSlash),
                "" => return Err(PathError::EmptySegment),
                "." => return Err(PathError::Dot),
                ".." => return Err(PathError::DotDot),
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// The text, byte for byte.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The path without `./` in front; empty for the whole repository.
    #[must_use]
    pub fn relative(&self) -> &'a str {
        self.0.strip_prefix("./").unwrap_or(self.0)
    }

    /// Whether both are the same place: `./` in front is free.
    #[must_use]
    pub fn same_place(&self, other: &RepoPath<'_>) -> bool {
        self.relative() == other.relative()
    }
}

impl fmt::Display for RepoPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_relative_paths() {
        for (text, relative) in [
            ("./", ""),
            ("./apps", "apps"),
            ("apps/prod-eu", "apps/prod-eu"),
            ("./a b/ü/.hidden/x..y", "a b/ü/.hidden/x..y"),
            ("...", "..."),
            ("a~", "a~"),
            ("-x", "-x"),
        ] {
            let path = RepoPath::parse(text).unwrap();
            assert_eq!(path.relative(), relative);
            assert_eq!(path.to_string(), text);
        }
        assert!(RepoPath::parse("./a").unwrap().same_place(&RepoPath::parse("a").unwrap()));
    }

    #[test]
    fn denies_every_way_out_of_the_repository() {
        for (text, error) in [
            ("", PathError::Empty),
            (".", PathError::Dot),
            ("..", PathError::DotDot),
            ("../x", PathError::DotDot),
            ("./..", PathError::DotDot),
            ("a/../b", PathError::DotDot),
            ("a/..", PathError::DotDot),
            ("a/./b", PathError::Dot),
            ("././a", PathError::Dot),
            ("/", PathError::Absolute),
            ("/etc/passwd", PathError::Absolute),
            (".//etc", PathError::EmptySegment),
            ("a//b", PathError::EmptySegment),
            ("a/", PathError::TrailingSlash),
            ("./a/", PathError::TrailingSlash),
            ("~/x", PathError::Tilde),
            ("./~root", PathError::Tilde),
            ("..\\x", PathError::Backslash),
            ("C:\\x", PathError::Backslash),
            ("a\0b", PathError::Invisible('\0')),
            ("a\nb", PathError::Invisible('\n')),
            ("a\u{202e}b", PathError::Invisible('\u{202e}')),
            ("a\u{200b}", PathError::Invisible('\u{200b}')),
            ("a\u{a0}b", PathError::Invisible('\u{a0}')),
        ] {
            assert_eq!(RepoPath::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(RepoPath::parse(&"a".repeat(MAX_PATH + 1)), Err(PathError::TooLong));
    }
}
