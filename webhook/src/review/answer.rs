//! Answers to the API server.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value;
use sluicegate_policy::text::escape;

use super::{API_VERSION, KIND};

/// Most characters of a warning: clients cut longer ones (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`).
const WARNING: usize = 256;
/// Most warnings of an answer. All of them together stay below the 4,096 characters at which the API server drops them.
const WARNINGS: usize = 12;

/// One operation of a JSON Patch (RFC 6902): an addition. No others are needed, and none can remove anything.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchOperation {
    field: &'static str,
    value: Value,
}

impl PatchOperation {
    /// Adds a field, by its path in an object such as `spec.source.ref`. The objects around it must be there.
    pub fn add(field: &'static str, value: Value) -> Self {
        Self { field, value }
    }

    /// Writes it as JSON.
    fn write(&self, patch: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        patch.extend_from_slice(br#"{"op":"add","path":"/"#);
        // Names of fields have nothing in them that is special in JSON or in a pointer (RFC 6901).
        patch.extend(self.field.bytes().map(|byte| if byte == b'.' { b'/' } else { byte }));
        patch.extend_from_slice(br#"","value":"#);
        serde_json::to_writer(&mut *patch, &self.value)?;
        patch.push(b'}');
        Ok(())
    }
}

/// What a question is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    refusal: Option<String>,
    patch: Vec<PatchOperation>,
    warnings: Vec<String>,
}

impl Answer {
    /// It may be done.
    pub fn allowed() -> Self {
        Self::default()
    }

    /// It may not be done, for this reason.
    pub fn denied(reason: impl Into<String>) -> Self {
        Self { refusal: Some(reason.into()), ..Self::default() }
    }

    /// It may be done with these changes.
    pub fn patched(patch: Vec<PatchOperation>) -> Self {
        Self { patch, ..Self::default() }
    }

    /// The same, with something that whoever asked should know.
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Whether it may be done.
    pub fn is_allowed(&self) -> bool {
        self.refusal.is_none()
    }

    /// Why it may not be done.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// What is changed.
    pub fn patch(&self) -> &[PatchOperation] {
        &self.patch
    }

    /// What whoever asked should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The answer to the question with this uid, as it is sent: an AdmissionReview with a response.
///
/// # Errors
/// Where a patch has a value that is no JSON, which values that came as JSON are not.
pub fn encode(uid: &str, answer: &Answer) -> Result<Vec<u8>, serde_json::Error> {
    let patch = json_patch(&answer.patch)?;
    let mut sent = String::with_capacity(256 + 2 * patch.len());
    sent.push_str(r#"{"apiVersion":""#);
    sent.push_str(API_VERSION);
    sent.push_str(r#"","kind":""#);
    sent.push_str(KIND);
    sent.push_str(r#"","response":{"uid":"#);
    sent.push_str(&serde_json::to_string(uid)?);
    sent.push_str(r#","allowed":"#);
    sent.push_str(if answer.is_allowed() { "true" } else { "false" });
    if let Some(message) = &answer.refusal {
        let message = &lines(message);
        sent.push_str(r#","status":"#);
        sent.push_str(&serde_json::to_string(&Status { code: 403, reason: "Forbidden", message })?);
    }
    if !patch.is_empty() {
        sent.push_str(r#","patchType":"JSONPatch","patch":""#);
        // Nothing in its alphabet is special in JSON.
        STANDARD.encode_string(&patch, &mut sent);
        sent.push('"');
    }
    if !answer.warnings.is_empty() {
        sent.push_str(r#","warnings":"#);
        sent.push_str(&serde_json::to_string(&warnings(&answer.warnings))?);
    }
    sent.push_str("}}");
    Ok(sent.into_bytes())
}

/// A JSON Patch; empty where there is nothing to change.
fn json_patch(operations: &[PatchOperation]) -> Result<Vec<u8>, serde_json::Error> {
    let mut patch = Vec::with_capacity(128 * operations.len());
    for operation in operations {
        patch.push(if patch.is_empty() { b'[' } else { b',' });
        operation.write(&mut patch)?;
    }
    if !patch.is_empty() {
        patch.push(b']');
    }
    Ok(patch)
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

/// A refusal as clients print it: the lines are ours, and in none is anything hidden, whatever it quotes.
fn lines(message: &str) -> String {
    message.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// As many of them, and of each as much, as clients show.
fn warnings(all: &[String]) -> Vec<String> {
    let mut warnings: Vec<String> = all.iter().take(WARNINGS).map(|warning| cut(warning)).collect();
    if let more @ 1.. = all.len().saturating_sub(WARNINGS) {
        warnings.push(format!("… and {more} more warnings"));
    }
    warnings
}

fn cut(warning: &str) -> String {
    let warning = escape(warning);
    match warning.char_indices().nth(WARNING - 1) {
        Some((at, _)) if warning.chars().count() > WARNING => format!("{}…", &warning[..at]),
        Some(_) | None => warning.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluicegate_policy::text::is_hidden;

    use super::*;

    fn sent(answer: &Answer) -> Value {
        serde_json::from_slice(&encode("7f1", answer).unwrap()).unwrap()
    }

    #[test]
    fn repeats_the_uid_and_says_why() {
        let expected = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
            "uid": "7f1", "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "no"},
        }});
        assert_eq!(sent(&Answer::denied("no")), expected);
        let expected = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
            "uid": "7f1", "allowed": true,
        }});
        assert_eq!(sent(&Answer::allowed()), expected);
    }

    #[test]
    fn a_patch_is_base64_of_json() {
        let answer = Answer::patched(vec![PatchOperation::add("spec.source.ref", json!({"branch": "main"}))]);
        let response = sent(&answer)["response"].clone();
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let expected = json!([{"op": "add", "path": "/spec/source/ref", "value": {"branch": "main"}}]);
        assert_eq!(serde_json::from_slice::<Value>(&patch).unwrap(), expected);
    }

    #[test]
    fn nothing_in_an_answer_draws_more_than_itself() {
        let hostile = "x\u{1b}[2J\u{202e}\r\u{85}\u{2028}\u{200b}\u{e0061}";
        let answer = Answer::denied(format!("{hostile}\n  help: {hostile}")).warn(format!("{hostile}\n{hostile}"));
        let response = sent(&answer)["response"].clone();
        let (refusal, warning) =
            (response["status"]["message"].as_str().unwrap(), response["warnings"][0].as_str().unwrap());
        assert_eq!(refusal.lines().count(), 2, "{refusal}");
        assert!(!refusal.replace('\n', "").chars().any(is_hidden), "{refusal:?}");
        assert!(!warning.chars().any(is_hidden), "{warning:?}");
    }

    #[test]
    fn warnings_stay_within_what_clients_show() {
        let answer = (0..40).fold(Answer::allowed(), |answer, _| answer.warn("ü".repeat(300)));
        let response = sent(&answer)["response"].clone();
        let warnings: Vec<&str> = response["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!((warnings.len(), warnings[12]), (13, "… and 28 more warnings"));
        assert!(warnings.iter().all(|warning| warning.chars().count() <= 256));
        assert!(warnings.iter().map(|warning| warning.chars().count()).sum::<usize>() < 4096);
    }
}
