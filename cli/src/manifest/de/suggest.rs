//! "Did you mean": the nearest of the allowed names.

/// The allowed name that `found` most likely stands for, if any is near: the same but for
/// case, `-` and `_`, or few typing errors for its length. Of equals the first.
pub(super) fn suggest(found: &str, allowed: &[&'static str]) -> Option<&'static str> {
    let bare = |name: &str| -> String {
        name.chars().filter(|character| !matches!(character, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
    };
    // No name of a field is that long: what is not one is not compared with all of them.
    if found.len() > 64 {
        return None;
    }
    let wanted = bare(found);
    if let Some(same) = allowed.iter().find(|name| bare(name) == wanted) {
        return Some(same);
    }
    let length = wanted.chars().count();
    let most = match length {
        0..=2 => return None,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    allowed
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &bare(name)), *name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    const FIELDS: &[&str] = &["source", "retryInterval", "url", "path", "dependsOn", "wait"];

    #[test]
    fn finds_what_was_most_likely_meant() {
        for (found, meant) in [
            ("sourc", "source"),
            ("soruce", "source"),
            ("Source", "source"),
            ("retry-interval", "retryInterval"),
            ("retry_interval", "retryInterval"),
            ("RETRYINTERVAL", "retryInterval"),
            ("retryIntervall", "retryInterval"),
            ("ulr", "url"),
            ("dependOn", "dependsOn"),
            ("paths", "path"),
        ] {
            assert_eq!(suggest(found, FIELDS), Some(meant), "{found}");
        }
    }

    #[test]
    fn says_nothing_where_nothing_is_near() {
        let long = "source".repeat(20);
        for found in ["", "x", "ul", "namespace", "image", "weight", &long] {
            assert_eq!(suggest(found, FIELDS), None, "{found}");
        }
    }
}
