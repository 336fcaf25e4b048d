//! The table of fields of Flux objects in CEL.
//!
//! CEL cannot walk down an object by itself, so every object and every list of objects in the table is written out, with the
//! names of the fields that it may have; only those of the request's kind are looked at. What may say only some things has a
//! validation of its own, with its message.

use sluicegate_crds::{AGENT_LABEL, AGENT_PODS, GROUP, MANAGED_BY_LABEL, MANAGER, PART_OF_LABEL};

use super::cel::{says, text, texts};
use crate::{
    flux_object::{
        Decision, Field, Judgement, KINDS, MayBe, PLATFORM_COPY, REFERENCES, REMOTE_HOSTS, Refused, SUSPEND, Spec,
    },
    rule::Rule,
};

/// Something of the table that is an object, or the items of a list.
#[derive(Clone)]
enum Place {
    /// An object: where it is in the new spec, from `variables.spec` on.
    Object(String),
    /// Items that the old object does not have, as an expression.
    Items(String),
}

impl Place {
    /// The same place in the old object.
    fn old(chain: &str) -> String {
        chain.replacen("variables.spec", "variables.old", 1)
    }

    fn object(&self, name: &str) -> Self {
        match self {
            Self::Object(chain) => Self::Object(format!("{chain}.?{name}")),
            Self::Items(items) => Self::Items(format!("{items}.map(e, e.?{name}.orValue({{}}))")),
        }
    }

    fn list(&self, name: &str) -> Self {
        Self::Items(match self {
            Self::Object(chain) => {
                format!("{chain}.?{name}.orValue([]).filter(e, !(e in {}.?{name}.orValue([])))", Self::old(chain))
            }
            Self::Items(items) => format!("{items}.map(e, e.?{name}.orValue([])).flatten()"),
        })
    }
}

/// An object or a list of objects of a kind, with the names that its fields may have.
struct Node {
    at: String,
    place: Place,
    names: Vec<&'static str>,
}

/// A field that is judged, and the kinds that have it.
struct Judged {
    kinds: Vec<&'static str>,
    at: String,
    within: Place,
    name: &'static str,
    judgement: Judgement,
}

fn walk(
    kind: &'static str,
    fields: &'static [Field],
    at: &str,
    place: &Place,
    nodes: &mut Vec<Node>,
    judged: &mut Vec<Judged>,
) {
    nodes.push(Node {
        at: at.to_owned(),
        place: place.clone(),
        names: fields.iter().map(|field| field.name).collect(),
    });
    for Field { name, decision } in fields {
        match decision {
            Decision::Free => {}
            Decision::Object(fields) => {
                walk(kind, fields, &format!("{at}.{name}"), &place.object(name), nodes, judged);
            }
            Decision::List(fields) => {
                walk(kind, fields, &format!("{at}.{name}[]"), &place.list(name), nodes, judged);
            }
            Decision::Judged(judgement) => {
                let at = format!("{at}.{name}");
                match judged.iter_mut().find(|known| known.at == at && known.judgement == *judgement) {
                    Some(known) => known.kinds.push(kind),
                    None => judged.push(Judged {
                        kinds: vec![kind],
                        at,
                        within: place.clone(),
                        name,
                        judgement: *judgement,
                    }),
                }
            }
        }
    }
}

fn nodes_of(fields: &'static [Field]) -> Vec<Node> {
    let mut nodes = Vec::new();
    walk("", fields, "spec", &Place::Object("variables.spec".to_owned()), &mut nodes, &mut Vec::new());
    nodes
}

/// For each kind what `of` makes of its nodes; for any other nothing.
fn by_kind(of: impl Fn(&Node) -> Option<String>) -> String {
    let mut expression = String::new();
    for kind in KINDS {
        let Spec::Fields(fields) = kind.spec else { continue };
        let entries: Vec<String> = nodes_of(fields).iter().filter_map(&of).collect();
        if !entries.is_empty() {
            expression += &format!("object.kind == {} ? {{\n  {}}} :\n", text(kind.name), entries.join(",\n  "));
        }
    }
    expression + "{}"
}

/// Objects of the spec by their place: the new one, the old one, and the names that are known.
pub(super) fn objects() -> String {
    by_kind(|node| match &node.place {
        Place::Object(chain) => {
            let value = |chain: &str| {
                let root = !chain.contains(".?");
                if root { chain.to_owned() } else { format!("{chain}.orValue({{}})") }
            };
            Some(format!(
                "{}: [{}, {}, dyn({})]",
                text(&node.at),
                value(chain),
                value(&Place::old(chain)),
                texts(node.names.iter().copied())
            ))
        }
        Place::Items(_) => None,
    })
}

/// New items of lists by their place, and the names that are known.
pub(super) fn items() -> String {
    by_kind(|node| match &node.place {
        Place::Items(items) => {
            Some(format!("{}: [dyn({items}), dyn({})]", text(&node.at), texts(node.names.iter().copied())))
        }
        Place::Object(_) => None,
    })
}

/// Places of fields that are not in the table and were not there before.
pub(super) const UNKNOWN: &str = "variables.objects.transformList(at, n, n[0].filter(k, !(k in n[2]) && !(k in n[1] && n[1][k] == n[0][k])).map(k, at + '.' + string(k))).flatten()
+ variables.items.transformList(at, n, n[0].map(e, e.filter(k, !(k in n[1])).map(k, at + '.' + string(k))).flatten()).flatten()";

/// What is said of the first of them.
pub(super) fn unknown_message() -> String {
    format!(
        "variables.unknown.size() == 0 ? '' : variables.unknown[0] + ': policy has no rule for this field of kind ' + object.kind + {}",
        text(&format!(" [{}]", Rule::FluxObjectNotAllowed))
    )
}

/// Whether the kind is one whose objects a team may write, or nothing of the object changed but that it is suspended.
pub(super) fn kind_is_known() -> String {
    let known = KINDS.iter().filter(|kind| matches!(kind.spec, Spec::Fields(_))).map(|kind| kind.name);
    let suspend = text(SUSPEND);
    format!(
        "object.kind in {}
|| oldObject != null
  && variables.spec.all(k, k == {suspend} || k in variables.old && variables.old[k] == variables.spec[k])
  && variables.old.all(k, k == {suspend} || k in variables.spec)",
        texts(known)
    )
}

/// What is said of any other kind.
pub(super) fn kind_message() -> String {
    let end = format!(" [{}]", Rule::FluxObjectNotAllowed);
    let mut expression = String::new();
    for kind in KINDS {
        if let Spec::Refused(Refused { message, .. }) = kind.spec {
            expression += &format!(
                "object.kind == {} ? {} :\n",
                text(kind.name),
                text(&format!("kind: {}", says(message, Rule::FluxObjectNotAllowed)))
            );
        }
    }
    expression + &format!("'kind: policy has no rule for Flux objects of kind ' + object.kind + {}", text(&end))
}

/// The fields that are judged: for each whether it is what it may be, or what it was, and what is said where it is not.
pub(super) fn judged() -> Vec<(String, String)> {
    let mut judged = Vec::new();
    for kind in KINDS {
        if let Spec::Fields(fields) = kind.spec {
            walk(kind.name, fields, "spec", &Place::Object("variables.spec".to_owned()), &mut Vec::new(), &mut judged);
        }
    }
    judged.iter().map(|judged| (judged.holds(), judged.says())).collect()
}

impl Judged {
    fn holds(&self) -> String {
        let may_be = self.judgement.may_be;
        let holds = match &self.within {
            Place::Object(chain) => {
                let new = format!("{chain}.?{}", self.name);
                format!("{new} == {} || {}", Place::old(&new), is(may_be, &new))
            }
            Place::Items(items) => format!("{items}.all(e, {})", is(may_be, &format!("e.?{}", self.name))),
        };
        format!("!(object.kind in {}) || variables.derived || {holds}", texts(self.kinds.iter().copied()))
    }

    fn says(&self) -> String {
        format!("{}: {}", self.at, says(self.judgement.message, Rule::FluxObjectNotAllowed))
    }
}

/// Whether an optional value is what it may be.
fn is(may_be: MayBe, value: &str) -> String {
    let unset = format!("{value}.orValue(null) in [dyn(null), dyn(false), dyn([])]");
    let word = format!("{value}.orValue('')");
    match may_be {
        MayBe::Absent => unset,
        MayBe::Text(allowed) => format!("{unset} || {value}.orValue(null) == {}", text(allowed)),
        MayBe::OwnNamespace => format!("{unset} || {value}.orValue(null) in ['', request.namespace]"),
        MayBe::NotPlatform => format!("!{word}.startsWith({})", text(PLATFORM_COPY)),
        MayBe::BranchOrTag => {
            let kinds: Vec<String> =
                REFERENCES.iter().map(|kind| format!("{word}.startsWith({})", text(kind))).collect();
            format!("{word} == '' || ({}) && !{word}.contains('..')", kinds.join(" || "))
        }
        MayBe::LocalPaths => {
            let hosts: Vec<String> =
                REMOTE_HOSTS.iter().map(|host| format!("p.lowerAscii().startsWith({})", text(host))).collect();
            format!(
                "{value}.orValue([]).all(p, p.matches(r'^[A-Za-z0-9._/-]*$') && !p.contains('//') && !({}))",
                hosts.join(" || ")
            )
        }
        MayBe::TeamLabels => format!(
            "{value}.orValue({{}}).all(k, v, (!k.startsWith({group}) || k == {agent} && v == request.namespace) && !(k == {managed} && v == {manager}) && !(k == {part_of} && v == {pods}))",
            group = text(&format!("{GROUP}/")),
            agent = text(AGENT_LABEL),
            managed = text(MANAGED_BY_LABEL),
            manager = text(MANAGER),
            part_of = text(PART_OF_LABEL),
            pods = text(AGENT_PODS),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_expression_is_longer_than_cel_reads() {
        let longest = [objects(), items(), kind_is_known(), kind_message(), UNKNOWN.to_owned()];
        for expression in longest.into_iter().chain(judged().into_iter().map(|(holds, _)| holds)) {
            assert!(expression.len() < 50_000, "{} characters: {expression}", expression.len());
        }
    }

    #[test]
    fn a_message_is_one_short_line() {
        for (_, message) in judged() {
            assert!(message.len() < 400 && !message.contains('\n'), "{message}");
        }
    }
}
