//! Templates: texts with placeholders, such as the name of a Secret `sops-${tenant}`.

use std::borrow::Cow;
use std::fmt;

use super::placeholder::{self, BindingError, Bindings, Piece, PlaceholderReason};

/// The longest template, in bytes.
pub const MAX_TEMPLATE: usize = 1024;

/// A text with placeholders. What it expands to is judged by the grammar of whatever it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// Why a text is not accepted as a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More than [`MAX_TEMPLATE`] bytes.
    #[error("the text has more than {MAX_TEMPLATE} characters")]
    TooLong,
    /// A control character or one that cannot be seen.
    #[error("the text has {}, which cannot be seen", super::shown(*.0))]
    Invisible(char),
    /// A placeholder.
    #[error("{reason}")]
    Placeholder {
        /// What is wrong with it.
        reason: PlaceholderReason,
        /// Where it begins, in bytes.
        offset: usize,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what is wrong with the text or its placeholders.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        if let Some(found) = text.chars().find(|c| super::is_invisible(*c)) {
            return Err(TemplateError::Invisible(found));
        }
        let pieces =
            placeholder::split(text).map_err(|(reason, offset)| TemplateError::Placeholder { reason, offset })?;
        Ok(Self { text: text.into(), pieces: pieces.into() })
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no placeholder in it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.pieces.iter().all(|p| matches!(p, Piece::Text(_)))
    }

    /// The text with the values in place of their placeholders; borrowed where there are none.
    ///
    /// # Errors
    /// A value that the text needs is not a DNS label, so that nothing else can be smuggled in; an empty
    /// one says that it is not known yet.
    pub fn expand(&self, bindings: &Bindings<'_>) -> Result<Cow<'_, str>, BindingError> {
        if self.is_literal() {
            return Ok(Cow::Borrowed(&self.text));
        }
        let mut out = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(placeholder) => {
                    let placeholder = *placeholder;
                    out.push_str(bindings.get(placeholder).ok_or(BindingError { placeholder })?);
                }
            }
        }
        Ok(Cow::Owned(out))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::placeholder::Placeholder;
    use super::*;

    const BINDINGS: Bindings<'_> = Bindings { tenant: "team-a", namespace: "shop", cluster: "prod-eu" };

    #[test]
    fn expands_placeholders() {
        for (text, expanded) in [
            ("", ""),
            ("main", "main"),
            ("${tenant}-dev", "team-a-dev"),
            ("sops-${tenant}", "sops-team-a"),
            ("${cluster}/${namespace}${tenant}", "prod-eu/shopteam-a"),
        ] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.expand(&BINDINGS).unwrap(), expanded);
            assert_eq!(template.to_string(), text);
        }
    }

    #[test]
    fn borrows_where_there_is_nothing_to_expand() {
        let template = Template::parse("./apps").unwrap();
        assert!(matches!(template.expand(&Bindings::default()), Ok(Cow::Borrowed("./apps"))));
    }

    #[test]
    fn never_expands_a_value_that_is_no_label() {
        let template = Template::parse("${tenant}/${cluster}").unwrap();
        for tenant in ["", "../x", "a/b", "A", "${cluster}", "a\n"] {
            let bindings = Bindings { tenant, ..BINDINGS };
            let placeholder = Placeholder::Tenant;
            assert_eq!(template.expand(&bindings), Err(BindingError { placeholder }));
        }
        assert_eq!(
            BindingError { placeholder: Placeholder::Cluster }.to_string(),
            "${cluster} has no value here that is a DNS label"
        );
    }

    #[test]
    fn denies_bad_templates() {
        for text in ["$", "$tenant", "${tenant", "${team}", "a\0", "a\u{202e}b"] {
            assert!(Template::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Template::parse(&"a".repeat(MAX_TEMPLATE + 1)), Err(TemplateError::TooLong));
    }
}
