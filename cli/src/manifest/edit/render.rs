//! Values as text, in the style of what surrounds them.

use serde_json::Value as Json;

use crate::manifest::yaml::is_safe_plain;

/// A key or a text: plain where every reader takes it for that text, quoted otherwise.
pub(super) fn text(text: &str) -> String {
    if is_safe_plain(text) { text.to_owned() } else { quoted(text) }
}

/// A text in double quotes, in the escapes that JSON and YAML share.
pub(super) fn quoted(text: &str) -> String {
    let json = Json::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for character in json.chars() {
        // Characters that JSON allows as they are and YAML does not, or takes for a break.
        if matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}') {
            quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// A value on one line: `{branch: main}`.
pub(super) fn flow(value: &Json) -> String {
    match value {
        Json::String(value) => text(value),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}: {}", text(key), flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// A value as JSON on one line, with or without spaces behind `:` and `,`.
pub(super) fn json(value: &Json, compact: bool) -> String {
    let space = if compact { "" } else { " " };
    match value {
        Json::String(value) => quoted(value),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| json(item, compact)).collect();
            format!("[{}]", items.join(&format!(",{space}")))
        }
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}:{space}{}", quoted(key), json(value, compact))).collect();
            format!("{{{}}}", fields.join(&format!(",{space}")))
        }
        scalar => scalar.to_string(),
    }
}

/// A value as JSON over several lines: `indent` is what the line of its key begins with,
/// `unit` what each level adds.
pub(super) fn pretty_json(value: &Json, eol: &str, indent: &str, unit: &str) -> String {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            let inner = format!("{indent}{unit}");
            let lines: Vec<String> = fields
                .iter()
                .map(|(key, value)| {
                    let value = pretty_json(value, eol, &inner, unit);
                    format!("{inner}{}: {value}", quoted(key))
                })
                .collect();
            format!("{{{eol}{}{eol}{indent}}}", lines.join(&format!(",{eol}")))
        }
        other => json(other, false),
    }
}

/// `key: value` as the lines of a block mapping, the first without its indentation.
/// `column` counts the spaces before the key, `width` those that each level adds.
pub(super) fn block(key: &str, value: &Json, eol: &str, column: usize, width: usize) -> String {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            let lines = block_fields(fields, eol, column + width, width);
            format!("{}:{eol}{lines}", text(key))
        }
        other => format!("{}: {}", text(key), flow(other)),
    }
}

/// The fields of a mapping as block lines, each with its indentation.
pub(super) fn block_fields(fields: &serde_json::Map<String, Json>, eol: &str, column: usize, width: usize) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{}{}", " ".repeat(column), block(key, value, eol, column, width)))
        .collect();
    lines.join(eol)
}
