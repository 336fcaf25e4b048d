//! Placeholders: `${tenant}`, `${namespace}` and `${cluster}`, and the values that they stand for.

use super::name::is_dns_label;

/// What a placeholder can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placeholder {
    /// `${tenant}`: the name of the tenant.
    Tenant,
    /// `${namespace}`: the target namespace.
    Namespace,
    /// `${cluster}`: the logical id of the target cluster.
    Cluster,
}

impl Placeholder {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Namespace, Self::Cluster];

    /// The name between the braces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Namespace => "namespace",
            Self::Cluster => "cluster",
        }
    }
}

/// The values of the placeholders in one decision. A value that is not a DNS label (an empty one, for
/// "not known yet", included) is never put in place of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bindings<'a> {
    /// The name of the tenant.
    pub tenant: &'a str,
    /// The target namespace.
    pub namespace: &'a str,
    /// The logical id of the target cluster.
    pub cluster: &'a str,
}

impl<'a> Bindings<'a> {
    /// The value of a placeholder, if it is a DNS label.
    #[must_use]
    pub fn get(&self, placeholder: Placeholder) -> Option<&'a str> {
        Some(self.written(placeholder)).filter(|value| is_dns_label(value))
    }

    fn written(&self, placeholder: Placeholder) -> &'a str {
        match placeholder {
            Placeholder::Tenant => self.tenant,
            Placeholder::Namespace => self.namespace,
            Placeholder::Cluster => self.cluster,
        }
    }
}

/// A placeholder whose value is missing or is not a DNS label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("${{{}}} has no value here that is a DNS label", .placeholder.name())]
pub struct BindingError {
    /// The placeholder in question.
    pub placeholder: Placeholder,
}

/// Why the placeholders of a text are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderReason {
    /// `${…}` with a name that is not known.
    #[error(
        "unknown placeholder `${{{}}}`; there are `${{tenant}}`, `${{namespace}}` and `${{cluster}}`",
        super::quoted(.0, 40)
    )]
    Unknown(String),
    /// `${` without `}`.
    #[error("`${{` is never closed with `}}`")]
    Unclosed,
    /// `$` that does not begin a placeholder.
    #[error("`$` begins a placeholder such as `${{tenant}}` and means nothing else")]
    BareDollar,
}

/// A piece of a text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Hole(Placeholder),
}

/// Cuts a text at its placeholders. No empty texts, and no two in a row. The offset in the error is from
/// the start of `text`.
pub(super) fn split(text: &str) -> Result<Vec<Piece>, (PlaceholderReason, usize)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        if dollar > at {
            pieces.push(Piece::Text(text[at..dollar].into()));
        }
        let Some(rest) = text[dollar..].strip_prefix("${") else {
            return Err((PlaceholderReason::BareDollar, dollar));
        };
        let Some(end) = rest.find('}') else {
            return Err((PlaceholderReason::Unclosed, dollar));
        };
        let name = &rest[..end];
        let Some(known) = Placeholder::ALL.into_iter().find(|p| p.name() == name) else {
            return Err((PlaceholderReason::Unknown(name.to_owned()), dollar));
        };
        pieces.push(Piece::Hole(known));
        at = dollar + "${".len() + end + "}".len();
    }
    if at < text.len() {
        pieces.push(Piece::Text(text[at..].into()));
    }
    Ok(pieces)
}

/// Takes the pieces, with values filled in, off the front of `text`. `None`: they do not fit, or a value
/// is not a DNS label.
pub(super) fn strip<'t, 'p>(
    pieces: impl IntoIterator<Item = &'p Piece>,
    mut text: &'t str,
    bindings: &Bindings<'_>,
) -> Option<&'t str> {
    for piece in pieces {
        text = match piece {
            Piece::Text(literal) => text.strip_prefix(&**literal)?,
            // Most values do not fit; only one that does is worth judging.
            Piece::Hole(hole) => {
                let rest = text.strip_prefix(bindings.written(*hole))?;
                bindings.get(*hole)?;
                rest
            }
        };
    }
    Some(text)
}

/// The text with a harmless label in each hole, to be checked by the grammar of whatever it is part of.
pub(super) fn filled(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Hole(_) => "x",
        })
        .collect()
}

/// The text with values filled in. `None`: a value is not a DNS label.
pub(super) fn expand(pieces: &[Piece], bindings: &Bindings<'_>) -> Option<String> {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Hole(hole) => bindings.get(*hole),
        })
        .collect()
}

/// How long the text is with values filled in, in bytes. `None`: a value is not a DNS label.
pub(super) fn filled_len(pieces: &[Piece], bindings: &Bindings<'_>) -> Option<usize> {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(text.len()),
            Piece::Hole(hole) => bindings.get(*hole).map(str::len),
        })
        .sum()
}

/// Whether every hole has a value that is a DNS label.
pub(super) fn bound<'p>(pieces: impl IntoIterator<Item = &'p Piece>, bindings: &Bindings<'_>) -> bool {
    pieces.into_iter().all(|piece| match piece {
        Piece::Text(_) => true,
        Piece::Hole(hole) => bindings.get(*hole).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_a_text_at_its_placeholders() {
        assert_eq!(
            split("a-${tenant}${cluster}.b").unwrap(),
            [
                Piece::Text("a-".into()),
                Piece::Hole(Placeholder::Tenant),
                Piece::Hole(Placeholder::Cluster),
                Piece::Text(".b".into()),
            ]
        );
        assert_eq!(split("").unwrap(), []);
    }

    #[test]
    fn names_what_is_wrong_and_where() {
        for (text, reason, at) in [
            ("x${team}", PlaceholderReason::Unknown("team".into()), 1),
            ("${}", PlaceholderReason::Unknown(String::new()), 0),
            ("${Tenant}", PlaceholderReason::Unknown("Tenant".into()), 0),
            ("${ tenant }", PlaceholderReason::Unknown(" tenant ".into()), 0),
            ("${${tenant}}", PlaceholderReason::Unknown("${tenant".into()), 0),
            ("ab${tenant", PlaceholderReason::Unclosed, 2),
            ("$tenant", PlaceholderReason::BareDollar, 0),
            ("$$", PlaceholderReason::BareDollar, 0),
        ] {
            assert_eq!(split(text), Err((reason, at)), "{text}");
        }
        assert_eq!(
            PlaceholderReason::Unknown("team".into()).to_string(),
            "unknown placeholder `${team}`; there are `${tenant}`, `${namespace}` and `${cluster}`"
        );
    }

    #[test]
    fn a_value_that_is_no_label_stands_for_nothing() {
        for value in ["", "a/b", "..", "*", "**", "A", "a.b", "${tenant}", "a\n"] {
            let bindings = Bindings { tenant: value, ..Bindings::default() };
            assert_eq!(bindings.get(Placeholder::Tenant), None, "{value:?}");
        }
    }
}
