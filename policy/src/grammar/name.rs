//! Names: DNS labels and subdomains as Kubernetes uses them (RFC 1123).

use std::fmt;
use std::sync::Arc;

/// Why a name is refused, with what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct NameError {
    kind: &'static str,
    reason: NameReason,
}

impl NameError {
    /// What the name was to be, such as `tenant name`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> NameReason {
        self.reason
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameReason {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Longer than the bound, in bytes.
    #[error("it has more than {0} characters")]
    TooLong(usize),
    /// A character that no label has.
    #[error(
        "it has {}; lowercase letters, digits and `-` are allowed",
        super::shown(*.0)
    )]
    BadCharacter(char),
    /// A character that no subdomain has.
    #[error(
        "it has {}; lowercase letters, digits, `-` and `.` are allowed",
        super::shown(*.0)
    )]
    BadSubdomainCharacter(char),
    /// Begins or ends (a part between dots counts) with `-`, or has an empty part.
    #[error("it must begin and end with a letter or digit, and so must each part between dots")]
    Edge,
}

/// The longest label, in bytes.
pub const MAX_LABEL: usize = 63;
/// The longest subdomain, in bytes.
pub const MAX_SUBDOMAIN: usize = 253;

/// Whether `text` is an RFC 1123 label: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 bytes.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    check_label(text).is_ok()
}

pub(super) fn check_label(text: &str) -> Result<(), NameReason> {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err(NameReason::Empty);
    };
    if bytes.len() > MAX_LABEL {
        return Err(NameReason::TooLong(MAX_LABEL));
    }
    if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        return Err(NameReason::BadCharacter(first_other(text, "-")));
    }
    if *first == b'-' || *last == b'-' {
        return Err(NameReason::Edge);
    }
    Ok(())
}

fn check_subdomain(text: &str) -> Result<(), NameReason> {
    if text.is_empty() {
        return Err(NameReason::Empty);
    }
    if text.len() > MAX_SUBDOMAIN {
        return Err(NameReason::TooLong(MAX_SUBDOMAIN));
    }
    for part in text.split('.') {
        // A part of a subdomain has no bound of its own in Kubernetes.
        let bytes = part.as_bytes();
        if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
            return Err(NameReason::BadSubdomainCharacter(first_other(text, "-.")));
        }
        if matches!((bytes.first(), bytes.last()), (None | Some(b'-'), _) | (_, Some(b'-'))) {
            return Err(NameReason::Edge);
        }
    }
    Ok(())
}

fn first_other(text: &str, extra: &str) -> char {
    text.chars()
        .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(*c)))
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident) => {
        $(#[$doc])*
        ///
        /// Clones share the text.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes the text as the name, if it is one.
            ///
            /// # Errors
            /// Says what is wrong with the text and what is allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                Self::check(text).map(|()| Self(text.into()))
            }

            /// As [`new`](Self::new), of a text that others have, too: it is in memory once.
            ///
            /// # Errors
            /// Says what is wrong with the text and what is allowed.
            pub fn shared(text: &Arc<str>) -> Result<Self, NameError> {
                Self::check(text).map(|()| Self(Arc::clone(text)))
            }

            /// Whether the text is such a name, for whoever does not need the name itself.
            ///
            /// # Errors
            /// Says what is wrong with the text and what is allowed.
            pub fn check(text: &str) -> Result<(), NameError> {
                $check(text).map_err(|reason| NameError { kind: $kind, reason })
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as text that is in memory once.
            #[must_use]
            pub fn text(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a tenant: an RFC 1123 label, at most 63 bytes.
    TenantName,
    "tenant name",
    check_label
);
name!(
    /// The logical id of a cluster: an RFC 1123 label, at most 63 bytes.
    ClusterId,
    "cluster id",
    check_label
);
name!(
    /// The name of a namespace: an RFC 1123 label, at most 63 bytes.
    NamespaceName,
    "namespace",
    check_label
);
name!(
    /// The name of an object: an RFC 1123 subdomain, at most 253 bytes.
    ObjectName,
    "object name",
    check_subdomain
);
name!(
    /// The name of a Helm chart, in the style of a DNS label.
    ChartName,
    "chart name",
    check_label
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_labels_and_subdomains() {
        for text in ["a", "0", "team-a", "a--b", &"a".repeat(63)] {
            assert_eq!(TenantName::new(text).unwrap().as_str(), text);
            assert!(ObjectName::new(text).is_ok());
        }
        for text in ["a.b", "x-1.y-2", &"a".repeat(253)] {
            assert_eq!(ObjectName::new(text).unwrap().to_string(), text);
            assert!(NamespaceName::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn denies_what_is_no_label_with_the_reason() {
        for (text, reason) in [
            ("", NameReason::Empty),
            ("-a", NameReason::Edge),
            ("a-", NameReason::Edge),
            ("Team", NameReason::BadCharacter('T')),
            ("a.b", NameReason::BadCharacter('.')),
            ("a/b", NameReason::BadCharacter('/')),
            ("a_b", NameReason::BadCharacter('_')),
            ("a\0", NameReason::BadCharacter('\0')),
            ("a\n", NameReason::BadCharacter('\n')),
            ("te\u{0430}m", NameReason::BadCharacter('\u{0430}')),
            ("${tenant}", NameReason::BadCharacter('$')),
            (&"a".repeat(64), NameReason::TooLong(63)),
        ] {
            let error = ClusterId::new(text).unwrap_err();
            assert_eq!(error.reason(), reason, "{text:?}");
            assert!(error.to_string().starts_with("cluster id: "));
        }
    }

    #[test]
    fn denies_what_is_no_subdomain_with_the_reason() {
        for (text, reason) in [
            ("", NameReason::Empty),
            (".a", NameReason::Edge),
            ("a.", NameReason::Edge),
            ("a..b", NameReason::Edge),
            ("a.-b", NameReason::Edge),
            ("a-.b", NameReason::Edge),
            ("a.B", NameReason::BadSubdomainCharacter('B')),
            ("a b", NameReason::BadSubdomainCharacter(' ')),
            (&"a".repeat(254), NameReason::TooLong(253)),
        ] {
            assert_eq!(ObjectName::new(text).unwrap_err().reason(), reason, "{text:?}");
        }
    }
}
