//! Durations as Flux writes them: `1h30m`, `500ms`, `1.5h`.
//!
//! The grammar is that of Flux's own fields, `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`: no sign, no space, no
//! bare number. What it reads fits what Go's `time.Duration` holds.

use std::time::Duration;

/// The longest text of a duration, in bytes.
pub const MAX_TEXT: usize = 64;
/// What Go's `time.Duration` can hold, in nanoseconds: about 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Why a text is not accepted as a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("the duration is empty; write it as in 5m or 1h30m")]
    Empty,
    /// More than [`MAX_TEXT`] bytes.
    #[error("the duration has more than {MAX_TEXT} characters")]
    TooLong,
    /// A number should begin here, in bytes from the start.
    #[error("a number is missing at character {0}; write the duration as in 5m or 1h30m")]
    NumberMissing(usize),
    /// No known unit here, in bytes from the start.
    #[error("a unit is missing at character {0}; the units are h, m, s and ms")]
    UnitMissing(usize),
    /// The same, where days are allowed too.
    #[error("a unit is missing at character {0}; the units are d, h, m, s and ms")]
    UnitOrDayMissing(usize),
    /// More than Go's `time.Duration` holds.
    #[error("the duration is longer than 292 years")]
    Overflow,
}

const NANOS_MS: u128 = 1_000_000;
const NANOS_S: u128 = 1_000 * NANOS_MS;
const NANOS_M: u128 = 60 * NANOS_S;
const NANOS_H: u128 = 60 * NANOS_M;
const NANOS_D: u128 = 24 * NANOS_H;

/// Reads a duration with the units of Flux: `h`, `m`, `s`, `ms`.
///
/// # Errors
/// Says what is wrong and where.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    read(text, false)
}

/// Reads a duration that may also be written in days of 24 hours, as in `7d`.
///
/// # Errors
/// Says what is wrong and where.
pub fn parse_duration_with_days(text: &str) -> Result<Duration, DurationError> {
    read(text, true)
}

fn read(text: &str, days: bool) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.len() > MAX_TEXT {
        return Err(DurationError::TooLong);
    }
    let mut total: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let at = |rest: &str| text.len() - rest.len();
        let (whole, after) = digits(rest).ok_or(DurationError::NumberMissing(at(rest)))?;
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(after) => digits(after).ok_or(DurationError::NumberMissing(at(after)))?,
        };
        let (unit, after) = unit(after, days).ok_or_else(|| {
            if days { DurationError::UnitOrDayMissing(at(after)) } else { DurationError::UnitMissing(at(after)) }
        })?;
        let nanos = whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| u128::from(whole).checked_mul(unit))
            .ok_or(DurationError::Overflow)?;
        total += nanos + fraction_of(fraction, unit);
        if total > MAX_NANOS {
            return Err(DurationError::Overflow);
        }
        rest = after;
    }
    Ok(Duration::new(
        u64::try_from(total / NANOS_S).map_err(|_| DurationError::Overflow)?,
        u32::try_from(total % NANOS_S).map_err(|_| DurationError::Overflow)?,
    ))
}

/// The leading digits and the rest; `None` without a digit.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn unit(text: &str, days: bool) -> Option<(u128, &str)> {
    // `ms` before `m`.
    [("ms", NANOS_MS), ("s", NANOS_S), ("m", NANOS_M), ("h", NANOS_H), ("d", NANOS_D)]
        .into_iter()
        .filter(|(name, _)| days || *name != "d")
        .find_map(|(name, nanos)| Some((nanos, text.strip_prefix(name)?)))
}

/// `0.fraction` of the unit, in whole nanoseconds, the remainder dropped. Digits beyond the 18th are
/// worth less than a nanosecond in every unit.
fn fraction_of(fraction: &str, unit: u128) -> u128 {
    let (mut value, mut scale): (u128, u128) = (0, 1);
    for digit in fraction.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    value * unit / scale
}

/// Writes a duration so that [`parse_duration`] reads the same one: `1h30m`, `1.5s` as `1s500ms`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    let mut out = String::new();
    for (value, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m")] {
        if value > 0 {
            out.push_str(&format!("{value}{unit}"));
        }
    }
    let seconds = seconds % 60;
    let (millis, beyond) = (nanos / 1_000_000, nanos % 1_000_000);
    if beyond > 0 {
        // No unit is smaller than a millisecond, but it may have a fraction.
        let fraction = format!("{nanos:09}");
        out.push_str(&format!("{seconds}.{}s", fraction.trim_end_matches('0')));
        return out;
    }
    if seconds > 0 || (out.is_empty() && millis == 0) {
        out.push_str(&format!("{seconds}s"));
    }
    if millis > 0 {
        out.push_str(&format!("{millis}ms"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_durations_of_flux() {
        for (text, millis) in [
            ("0s", 0),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("0.5s", 500),
            ("1m1m", 120_000),
            ("30s1h", 3_630_000),
            ("007s", 7_000),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(parse_duration_with_days(text), Ok(duration));
        }
        assert_eq!(parse_duration("0.0000000019s"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn reads_days_only_where_they_are_allowed() {
        let week = Duration::from_hours(7 * 24);
        assert_eq!(parse_duration_with_days("7d"), Ok(week));
        assert_eq!(parse_duration_with_days("6d23h60m"), Ok(week));
        assert_eq!(parse_duration("7d"), Err(DurationError::UnitMissing(1)));
    }

    #[test]
    fn denies_what_is_no_duration() {
        for (text, error) in [
            ("", DurationError::Empty),
            ("5", DurationError::UnitMissing(1)),
            ("m", DurationError::NumberMissing(0)),
            ("-5m", DurationError::NumberMissing(0)),
            ("+5m", DurationError::NumberMissing(0)),
            (" 5m", DurationError::NumberMissing(0)),
            ("5m ", DurationError::NumberMissing(2)),
            ("5 m", DurationError::UnitMissing(1)),
            ("5M", DurationError::UnitMissing(1)),
            ("5us", DurationError::UnitMissing(1)),
            (".5s", DurationError::NumberMissing(0)),
            ("5.s", DurationError::NumberMissing(2)),
            ("1e3s", DurationError::UnitMissing(1)),
            ("\u{ff15}m", DurationError::NumberMissing(0)),
            ("5m\0", DurationError::NumberMissing(2)),
            ("9223372037s", DurationError::Overflow),
            ("99999999999999999999h", DurationError::Overflow),
            ("18446744073709551615h", DurationError::Overflow),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text:?}");
        }
        assert_eq!(parse_duration(&format!("{}s", "0".repeat(MAX_TEXT))), Err(DurationError::TooLong));
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "1h30m", "5m", "500ms", "1s500ms", "1m0.0000005s", "2562047h47m16s854ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
