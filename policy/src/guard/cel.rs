//! CEL: the grammars of images and URLs, and the look-up in a list.
//!
//! What the engine reads with parsers is cut apart here with constant regular expressions (RE2, compiled when the policy is
//! loaded) and `split`. No regular expression is made from policy: a dynamic one is compiled on every call, and an empty one
//! matches everything.

use sluicegate_crds::AGENT_LABEL;

use crate::rule::Rule;
use crate::workload::CHART;

/// What a rule says, in one line.
pub(super) fn says(message: &str, rule: Rule) -> String {
    format!("{message} [{rule}]")
}

/// A text as a CEL literal.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A list of texts as a CEL literal.
pub(super) fn texts<'t>(list: impl IntoIterator<Item = &'t str>) -> String {
    format!("[{}]", list.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

/// Host of an image, with its port: labels, or an IPv6 address in brackets.
const IMAGE_AUTHORITY: &str = r"^(?:[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])(?::PORT)?$";
/// Path of an image.
const IMAGE_PATH: &str = r"^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*$";
/// Tag and digest of an image.
const IMAGE_VERSION: &str =
    r"^(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?$";
/// What a node may take for the id of a local image.
const IMAGE_ID: &str = r"^(?:[0-9a-f]{64}|sha(?:256|384|512):[^/]*)$";
/// Docker Hub in any case.
const HUB_ANY_CASE: &str = r"^(?i:(?:index\.)?docker\.io)(?::[0-9]+)?$";
/// A host that resolvers take for an address: its last label is a number.
const ENDS_IN_A_NUMBER: &str = r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)(?::[0-9]+)?$";
/// An IPv4 address in its one canonical spelling, with a port or without.
const IPV4: &str = r"^OCTET\.OCTET\.OCTET\.OCTET(?::[0-9]+)?$";
/// 0 to 255, without leading zeros.
const OCTET: &str = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// A URL in canonical form.
const URL: &str = r"^(?:(?:https|http|oci)://|ssh://[A-Za-z0-9][A-Za-z0-9._-]{0,63}@)[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*(?::PORT)?(?:/[A-Za-z0-9._][A-Za-z0-9._-]*)*$";
/// 1 to 65535, without leading zeros.
const PORT: &str = r"(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})";

/// A regular expression as a CEL literal.
fn regex(pattern: &str) -> String {
    format!("r'{}'", pattern.replace("PORT", PORT).replace("OCTET", OCTET))
}

/// Whether a list has a pattern for the parts in `p`; `any` is what must hold for the rule that takes in everything.
pub(super) fn finds(list: &str, any: &str) -> String {
    format!(
        "(has({list}.any) && {any} || {list}.shapes.exists(s, (s.more ? p.size() >= s.parts : p.size() == s.parts) && s.keep.map(k, p[k]).join('/') in s.rules))"
    )
}

/// The rule of the first pattern in a list for the parts in `p`; there must be one.
pub(super) fn rule_of(list: &str) -> String {
    format!(
        "string(has({list}.any) ? {list}.any : {list}.shapes.filter(s, (s.more ? p.size() >= s.parts : p.size() == s.parts) && s.keep.map(k, p[k]).join('/') in s.rules).map(s, s.rules[s.keep.map(k, p[k]).join('/')])[0])"
    )
}

/// The spec of the pods that an object has or makes.
pub(super) fn pod(object: &str) -> String {
    format!(
        "dyn({object}.kind == 'Pod' ? {object}.spec :
  {object}.kind == 'CronJob' ? {object}.spec.jobTemplate.spec.template.spec :
  {object}.kind == 'PodTemplate' ? {object}.template.spec :
  {object}.kind == 'ImageRepository' ? {{}} :
  {object}.spec.template.spec)"
    )
}

/// Where that stands.
pub(super) const POD_FIELD: &str = "object.kind == 'Pod' ? 'spec' :
  object.kind == 'CronJob' ? 'spec.jobTemplate.spec.template.spec' :
  object.kind == 'PodTemplate' ? 'template.spec' :
  'spec.template.spec'";

/// Images that an object did not have before: for each its field and the reference.
pub(super) fn images() -> String {
    let list = |name: &str| {
        format!(
            "variables.pod.?{name}.orValue([]).transformList(i, c, has(c.image), [variables.podField + '.{name}[' + string(i) + '].image', string(c.image)])"
        )
    };
    format!(
        "({}
+ {}
+ {}
+ variables.pod.?volumes.orValue([]).transformList(i, v, has(v.image) && has(v.image.reference), [variables.podField + '.volumes[' + string(i) + '].image.reference', string(v.image.reference)])
+ (object.kind == 'ImageRepository' && has(object.spec.image) ? [['spec.image', string(object.spec.image)]] : [])
).filter(e, e[1] != '' && !(e[1] in variables.before) && !(e[1] in params.spec.images.agent))",
        list("containers"),
        list("initContainers"),
        list("ephemeralContainers"),
    )
}

/// Images that the old object has.
pub(super) const BEFORE: &str = "oldObject == null ? [] :
  variables.oldPod.?containers.orValue([]).filter(c, has(c.image)).map(c, c.image)
  + variables.oldPod.?initContainers.orValue([]).filter(c, has(c.image)).map(c, c.image)
  + variables.oldPod.?ephemeralContainers.orValue([]).filter(c, has(c.image)).map(c, c.image)
  + variables.oldPod.?volumes.orValue([]).filter(v, has(v.image) && has(v.image.reference)).map(v, v.image.reference)
  + (oldObject.kind == 'ImageRepository' && has(oldObject.spec.image) ? [oldObject.spec.image] : [])";

/// Registry and the rest of each image: the first component is a registry only if it is `localhost` or has a dot, a colon or a
/// capital; without one the image is on Docker Hub.
pub(super) const NAMED: &str = "variables.images.map(e, [e[1].split('/', 2)].map(c,
  c.size() == 2 && (c[0] == 'localhost' || c[0].matches('[.:A-Z]'))
    ? [c[0] == 'index.docker.io' ? 'docker.io' : c[0], c[1]]
    : ['docker.io', e[1]])[0])";

/// Registry, path with an implied `library/`, and tag and digest of each image.
pub(super) const CUT: &str = "variables.named.map(n, [n[1].split('@', 2)[0].split(':', 2)[0]].map(name,
  [n[0], n[0] == 'docker.io' && !name.contains('/') ? 'library/' + name : name, n[1].substring(name.size())])[0])";

/// The parts of each image, as `PatternIndex` has them; none where it is not in canonical form.
pub(super) fn image_parts() -> String {
    format!(
        "variables.cut.transformList(i, c,
  c[0].matches({authority})
  && (!c[0].matches({number}) || c[0].matches({ipv4}))
  && (c[0] == c[0].lowerAscii() || !c[0].matches({hub}))
  && (!c[0].startsWith('[') || isIP(c[0].substring(1, c[0].indexOf(']'))) && ip.isCanonical(c[0].substring(1, c[0].indexOf(']')).lowerAscii()))
  && c[1].size() <= 255 && c[1].matches({path})
  && c[2].matches({version})
  && !variables.images[i][1].matches({id})
  ? [c[0].lowerAscii(),
     c[0].contains('.') && !c[0].startsWith('[') ? '*' + c[0].lowerAscii().substring(c[0].indexOf('.')) : '',
     c[2] == '' ? ':latest' : c[2].contains('@') ? '@' : c[2]] + c[1].split('/')
  : [])",
        authority = regex(IMAGE_AUTHORITY),
        number = regex(ENDS_IN_A_NUMBER),
        ipv4 = regex(IPV4),
        hub = regex(HUB_ANY_CASE),
        path = regex(IMAGE_PATH),
        version = regex(IMAGE_VERSION),
        id = regex(IMAGE_ID),
    )
}

/// What is wrong with each image, in the order in which the engine judges: denied, not allowed, tag, digest, narrowed.
pub(super) fn image_findings() -> String {
    let images = "params.spec.images";
    let whole = |message: &str, rule: Rule| text(&format!("{message} [{rule}]"));
    format!(
        "variables.images.transformList(i, e, [variables.parts[i]].map(p,
  p.size() == 0 ? {invalid} :
  {denied} ? {denied_by} + {denied_end} :
  !{allowed} ? 'no policy allows tenant ' + string(params.spec.tenant) + {not_allowed} :
  p[2] != '@' && p[2].substring(1) in {images}.denyTags ?
    (variables.cut[i][2] == '' ? 'without tag and digest this is latest, a tag that policy ' + string({images}.denyTags['latest']) + ' denies'
      : 'policy ' + string({images}.denyTags[p[2].substring(1)]) + ' denies the tag ' + p[2].substring(1)) + {tag_end} :
  p[2] != '@' && {images}.requireDigest ? {digest} :
  has({images}.narrow) && !{narrowed} ? {narrow} :
  '')[0]).transformList(i, f, f != '', variables.images[i][0] + ': ' + f)",
        invalid = whole("this is not an image reference in canonical form", Rule::InvalidImage),
        denied = finds(&format!("{images}.deny"), "true"),
        denied_by = rule_of(&format!("{images}.deny")),
        denied_end = text(&format!(" [{}]", Rule::ImageDenied)),
        allowed = finds(&format!("{images}.allow"), "true"),
        not_allowed = text(&format!(" this image [{}]", Rule::ImageNotAllowed)),
        tag_end = text(&format!(" [{}]", Rule::ImageTagDenied)),
        digest = whole("policy asks for a digest, and the image is named without", Rule::ImageDigestRequired),
        narrowed = finds(&format!("{images}.narrow"), "true"),
        narrow = whole(
            "policy allows this image, but the team's own FluxConfig narrows the list to others",
            Rule::ImageNotAllowed
        ),
    )
}

/// The URL that a Flux source names, in a list; none where it is no source or the URL was there before.
pub(super) const SOURCES: &str =
    "(object.kind in ['GitRepository', 'OCIRepository', 'HelmRepository'] && has(variables.spec.url)
    ? [string(variables.spec.url)] :
  object.kind == 'Bucket' && has(variables.spec.endpoint) && has(variables.spec.bucketName)
    ? ['https://' + string(variables.spec.endpoint) + '/' + string(variables.spec.bucketName)] : [])
.filter(u, oldObject == null || (object.kind == 'Bucket'
  ? variables.old.?endpoint != variables.spec.?endpoint || variables.old.?bucketName != variables.spec.?bucketName
  : variables.old.?url != variables.spec.?url))";

/// Scheme, user, host, port and path of each URL in canonical form; nothing of any other.
pub(super) fn url_cut() -> String {
    format!(
        "variables.urls.map(u, u.size() <= 2048 && u.matches({url})
  ? [u.split('://', 2)].map(s, [s[1].split('/')].map(c, [c[0].split('@')].map(a, [a[a.size() - 1].split(':')].map(h,
      [s[0], a.size() == 2 ? a[0] : '', h[0],
       h.size() == 2 ? h[1] : s[0] == 'ssh' ? '22' : s[0] == 'http' ? '80' : '443',
       h.size() == 2 ? 'port' : ''] + c)[0])[0])[0])[0]
  : [])",
        url = regex(URL),
    )
}

/// The parts of each URL, as `PatternIndex` has them; none where it is not in canonical form.
pub(super) fn url_parts() -> String {
    // Of `cut`: 0 scheme, 1 user, 2 host, 3 port, 4 whether one is written, 5 the authority, from 6 on the path.
    format!(
        "variables.urlCut.map(c,
  c.size() > 0
  && c[2].size() <= 253
  && (!c[2].matches({number}) || c[2].matches({ipv4}))
  && (c[0] != 'oci' || c[4] == 'port' || c[2] == 'localhost' || c[2].contains('.'))
  && !c.exists(x, x in ['.', '..', '.git'])
  && !(c.size() > 6 && c[c.size() - 1] in ['.git.git', '..git', '...git'])
  ? [c[0] + '|' + c[1] + '|' + c[2] + '|' + c[3],
     c[2].contains('.') ? c[0] + '|' + c[1] + '|*' + c[2].substring(c[2].indexOf('.')) + '|' + c[3] : '']
    + c.transformList(i, x, i > 5, i == c.size() - 1 && x.endsWith('.git') ? x.substring(0, x.size() - 4) : x)
  : [])",
        number = regex(ENDS_IN_A_NUMBER),
        ipv4 = regex(IPV4),
    )
}

/// What is wrong with each URL: kind, denied, not allowed.
pub(super) fn url_findings() -> String {
    let end = |rule: Rule| text(&format!(" [{rule}]"));
    format!(
        "variables.urls.transformList(i, u, [variables.urlParts[i]].map(p, [variables.urlCut[i]].map(c,
  p.size() == 0 ? {invalid} :
  (object.kind == 'GitRepository' ? c[0] == 'oci' :
   object.kind == 'OCIRepository' ? c[0] != 'oci' :
   object.kind == 'HelmRepository' ? c[0] == 'ssh' : p.size() != 3)
    || object.kind != 'GitRepository' && u.endsWith('.git') ? {mismatch} :
  {denied} ? {denied_by} + {denied_end} :
  !{allowed} ? 'no policy allows tenant ' + string(params.spec.tenant) + ' this ' + variables.sourceKind + ' source' + {not_allowed} :
  '')[0])[0]).transformList(i, f, f != '', (object.kind == 'Bucket' ? 'spec.endpoint: ' : 'spec.url: ') + f)",
        invalid = text(&says("this is not a URL in canonical form", Rule::InvalidUrl)),
        mismatch = text(&says(Rule::SourceKindMismatch.title(), Rule::SourceKindMismatch)),
        denied = finds("variables.list.deny", "true"),
        denied_by = rule_of("variables.list.deny"),
        denied_end = end(Rule::SourceDenied),
        allowed = finds("variables.list.allow", "c[0] != 'http'"),
        not_allowed = end(Rule::SourceNotAllowed),
    )
}

/// Whether an OCIRepository names a digest, or the artifact is what it was.
pub(super) const NAMES_A_DIGEST: &str =
    "object.kind != 'OCIRepository' || variables.spec.?ref.?digest.orValue('') != ''
|| variables.spec.?url == variables.old.?url && variables.spec.?ref == variables.old.?ref";

/// The field of a new source, or of a new chart of a Helm repository, whose signatures nobody checks; empty where there is none.
pub(super) fn unsigned() -> String {
    let is_new = |chart: &str| {
        let differs = |field: &&str| format!("variables.spec{chart}.?{field} != variables.old{chart}.?{field}");
        let kind = format!("variables.spec{chart}.?sourceRef.?kind.orValue('') == 'HelmRepository'");
        format!("{kind} && ({})", CHART.iter().map(differs).collect::<Vec<_>>().join(" || "))
    };
    format!(
        "variables.urls.size() > 0 ? (object.kind == 'Bucket' ? 'spec.endpoint' : 'spec.url') :
  object.kind == 'HelmChart' && !variables.derived && {} ? 'spec.sourceRef' :
  object.kind == 'HelmRelease' && {} ? 'spec.chart.spec.sourceRef' : ''",
        is_new(""),
        is_new(".?chart.?spec"),
    )
}

/// Whether a Flux object says whose it is.
pub(super) fn label() -> String {
    let label = |object: &str| format!("{object}.?metadata.?labels[?{}].orValue('')", text(AGENT_LABEL));
    format!(
        "{new} == request.namespace || oldObject != null && {new} == {old}",
        new = label("object"),
        old = label("oldObject")
    )
}
