//! Which versions are in a range, as the Masterminds library that Flux uses answers it. Versions that are asked about are
//! releases: three numbers. That a text is a range is judged by the engine's grammar.

/// Three numbers.
pub(super) type Numbers = [u64; 3];

/// Reads `1.2.3`, with or without a `v`.
pub(super) fn numbers(text: &str) -> Option<Numbers> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// What one comparison compares with.
struct Bound {
    /// What is not said is 0.
    numbers: Numbers,
    /// How many of the three are said.
    said: usize,
    /// A version before the release of these numbers.
    prerelease: bool,
}

impl Bound {
    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(text, _)| text);
        let (text, prerelease) = text.split_once('-').map_or((text, false), |(text, _)| (text, true));
        let mut bound = Self { numbers: [0; 3], said: 0, prerelease };
        for (index, part) in text.split('.').enumerate() {
            if matches!(part, "x" | "X" | "*") {
                break;
            }
            *bound.numbers.get_mut(index)? = part.parse().ok()?;
            bound.said = index + 1;
        }
        Some(bound)
    }

    fn admits(&self, operator: &str, version: Numbers) -> bool {
        let ([major, minor, _], [v_major, v_minor, _]) = (self.numbers, version);
        // A release comes after its own prereleases.
        let below = version < self.numbers;
        let equal = version == self.numbers && !self.prerelease;
        let above = !below && !equal;
        let same_said = version.iter().zip(&self.numbers).take(self.said).all(|(a, b)| a == b);
        match (operator, self.said) {
            ("" | "=", 3) => equal,
            ("" | "=" | "~" | "~>", 0) => true,
            ("" | "=", _) => !below && same_said,
            ("~" | "~>", 1) => !below && v_major == major,
            ("~" | "~>", _) => !below && [v_major, v_minor] == [major, minor],
            ("!=", 3) => !equal,
            ("!=", 0) => version != [0; 3],
            ("!=", _) => !same_said,
            (">", 1) => v_major > major,
            (">", 2) => [v_major, v_minor] > [major, minor],
            (">", _) => above,
            ("<", _) => below,
            (">=" | "=>", _) => !below,
            ("<=" | "=<", 1) => v_major <= major,
            ("<=" | "=<", 0 | 2) => [v_major, v_minor] <= [major, minor],
            ("<=" | "=<", _) => below || equal,
            ("^", 1) => !below && v_major == major,
            ("^", _) if below => false,
            ("^", _) if major > 0 || v_major > 0 => v_major == major,
            ("^", said) if minor > 0 || said == 2 => v_minor == minor,
            ("^", 0) => v_minor == 0,
            ("^", _) => version == self.numbers,
            _ => false,
        }
    }
}

/// Whether a range has a version in it. A text that is no range has none.
pub(super) fn admits(range: &str, version: Numbers) -> bool {
    range.split("||").any(|all| admits_all(all, version).unwrap_or(false))
}

fn admits_all(text: &str, version: Numbers) -> Option<bool> {
    let mut good = true;
    for part in text.split(',') {
        let mut words = part.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let bound = word.trim_start_matches(['=', '!', '<', '>', '~', '^']);
            let operator = word.strip_suffix(bound)?;
            let bound = if bound.is_empty() { words.next()? } else { bound };
            if words.next_if_eq(&"-").is_some() {
                let upper = Bound::read(words.next()?)?;
                good &= Bound::read(bound)?.admits(">=", version) && upper.admits("<=", version);
            } else {
                good &= Bound::read(bound)?.admits(operator, version);
            }
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_masterminds_does() {
        for (range, inside, outside) in [
            ("2.9.3", &["2.9.3"][..], &["2.9.2", "2.9.4"][..]),
            ("v2.9.3", &["2.9.3"], &["2.9.4"]),
            ("=2.9.3", &["2.9.3"], &["2.9.4"]),
            ("2.9", &["2.9.0", "2.9.9"], &["2.8.9", "2.10.0", "3.9.0"]),
            ("2.9.x", &["2.9.0", "2.9.9"], &["2.8.9", "2.10.0"]),
            ("2.*", &["2.0.0", "2.9.9"], &["1.9.9", "3.0.0"]),
            ("2", &["2.0.0", "2.9.9"], &["1.9.9", "3.0.0"]),
            ("*", &["0.0.0", "9.9.9"], &[]),
            ("~2", &["2.0.0", "2.9.9"], &["3.0.0", "1.9.9"]),
            ("~2.8", &["2.8.0", "2.8.9"], &["2.9.0", "2.7.9"]),
            ("~2.8.3", &["2.8.3", "2.8.9"], &["2.8.2", "2.9.0"]),
            ("~>2.8.3", &["2.8.9"], &["2.8.2", "2.9.0"]),
            ("^2.8", &["2.8.0", "2.9.9"], &["2.7.9", "3.0.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.2.2", "0.3.0", "1.2.3"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4", "0.1.0"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0", &["0.0.0", "0.9.9"], &["1.0.0"]),
            (">2", &["3.0.0"], &["2.9.9"]),
            (">2.8", &["2.9.0"], &["2.8.9"]),
            (">2.8.3", &["2.8.4"], &["2.8.3"]),
            (">= 2.8", &["2.8.0", "3.0.0"], &["2.7.9"]),
            ("=>2.8", &["2.8.0"], &["2.7.9"]),
            ("<2.9", &["2.8.9"], &["2.9.0"]),
            ("<=2.8", &["2.8.9"], &["2.9.0"]),
            ("<=2", &["2.9.9", "1.0.0"], &["3.0.0"]),
            ("<=2.8.3", &["2.8.3"], &["2.8.4"]),
            ("!=2.9.2", &["2.9.1"], &["2.9.2"]),
            ("!=2.9", &["2.8.0"], &["2.9.2"]),
            (">=2.7 <2.9", &["2.8.8"], &["2.9.0", "2.6.9"]),
            (">=2.7, <2.9, !=2.8.1", &["2.8.8"], &["2.9.0", "2.8.1"]),
            ("2.7 - 2.8", &["2.7.0", "2.8.9"], &["2.9.0", "2.6.9"]),
            ("2.7.5 - 2.8.1", &["2.7.5", "2.8.1"], &["2.8.2", "2.7.4"]),
            ("2.7.x || 2.9.x", &["2.7.1", "2.9.1"], &["2.8.1"]),
            (">=2.9.0-rc.1", &["2.9.0"], &["2.8.9"]),
            (">2.9.0-rc.1", &["2.9.0"], &["2.8.9"]),
            ("<2.9.0-rc.1", &["2.8.9"], &["2.9.0"]),
            ("2.9.0-rc.1", &[], &["2.9.0"]),
        ] {
            for version in inside {
                assert!(admits(range, numbers(version).unwrap()), "{version} should be in {range}");
            }
            for version in outside {
                assert!(!admits(range, numbers(version).unwrap()), "{version} should not be in {range}");
            }
        }
    }
}
