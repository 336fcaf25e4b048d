//! Quantities of Kubernetes (`100m`, `1.5Gi`), written as the API server stores them, so that what is rendered and what is
//! found on the cluster are the same text.

use std::cmp::Ordering;

/// Parts of one: Kubernetes knows nothing smaller than a nano.
const NANO: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    Decimal,
    Exponent,
    Binary,
}

/// An amount of some resource, not negative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    nanos: i128,
    notation: Notation,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no quantity, such as 100m, 0.5 or 512Mi")]
pub struct QuantityError;

impl Quantity {
    /// Reads a quantity in any notation.
    pub(crate) fn parse(text: &str) -> Result<Self, QuantityError> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // Nobody has more than 10^15 of anything, and nothing is smaller than a nano.
        let fits = whole.len() <= 15 && fraction.len() <= 18 && !(whole.is_empty() && fraction.is_empty());
        if !fits || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (factor, divisor, notation) = Self::scale(suffix).ok_or(QuantityError)?;
        let digits: i128 = format!("{whole}{fraction}").parse().map_err(|_| QuantityError)?;
        let length = u32::try_from(fraction.len()).map_err(|_| QuantityError)?;
        let divisor = divisor * 10_i128.pow(length);
        let value = digits.checked_mul(factor).ok_or(QuantityError)?;
        // Upwards, as Kubernetes does.
        let nanos = value / divisor + i128::from(value % divisor != 0);
        if nanos > 1_000_000_000_000_000_000 * NANO {
            return Err(QuantityError);
        }
        Ok(Self { nanos, notation })
    }

    /// Factor to nanos, its divisor, and the notation of a suffix.
    fn scale(suffix: &str) -> Option<(i128, i128, Notation)> {
        let decimal = |power: u32| Some((NANO * 1000_i128.pow(power), 1, Notation::Decimal));
        let binary = |power: u32| Some((NANO * 1024_i128.pow(power), 1, Notation::Binary));
        match suffix {
            "n" => Some((1, 1, Notation::Decimal)),
            "u" => Some((1_000, 1, Notation::Decimal)),
            "m" => Some((1_000_000, 1, Notation::Decimal)),
            "" => decimal(0),
            "k" => decimal(1),
            "M" => decimal(2),
            "G" => decimal(3),
            "T" => decimal(4),
            "P" => decimal(5),
            "E" => decimal(6),
            "Ki" => binary(1),
            "Mi" => binary(2),
            "Gi" => binary(3),
            "Ti" => binary(4),
            "Pi" => binary(5),
            "Ei" => binary(6),
            _ => {
                let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                match exponent {
                    0..=18 => Some((NANO * 10_i128.pow(exponent.unsigned_abs()), 1, Notation::Exponent)),
                    -18..0 => Some((NANO, 10_i128.pow(exponent.unsigned_abs()), Notation::Exponent)),
                    _ => None,
                }
            }
        }
    }

    /// As the API server stores it: no fraction, and the largest suffix with which that can be said.
    pub(crate) fn canonical(self) -> String {
        let whole = self.nanos % NANO == 0;
        if self.notation == Notation::Binary && whole && self.nanos >= 1024 * NANO {
            let (mut value, mut power) = (self.nanos / NANO, 0);
            while value % 1024 == 0 && power < 6 {
                value /= 1024;
                power += 1;
            }
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(power).unwrap_or(&"");
            return format!("{value}{suffix}");
        }
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let (mut value, mut power) = (self.nanos, 0);
        while value % 1000 == 0 && power < 9 {
            value /= 1000;
            power += 1;
        }
        let suffix = if self.notation == Notation::Exponent {
            ["e-9", "e-6", "e-3", "", "e3", "e6", "e9", "e12", "e15", "e18"].get(power)
        } else {
            ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].get(power)
        };
        format!("{value}{}", suffix.unwrap_or(&""))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_the_api_server_stores_it() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.1", "100m"),
            (".5", "500m"),
            ("1.", "1"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1000", "1k"),
            ("1500k", "1500k"),
            ("2000k", "2M"),
            ("0.0001", "100u"),
            ("0.00000000001", "1n"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("512Mi", "512Mi"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1e3", "1e3"),
            ("1E4", "10e3"),
            ("15e-1", "1500e-3"),
            ("128974848", "128974848"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in ["", ".", "m", "1.2.3", "-1", "1 Gi", "1gi", "1GiB", "1e", "1e99", "99999999999999999999", "9999E"]
        {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text}");
        }
    }

    #[test]
    fn is_compared_by_its_value() {
        let quantity = |text| Quantity::parse(text).unwrap();
        assert!(quantity("1Gi") > quantity("1G"));
        assert!(quantity("0.1") == quantity("100m"));
        assert!(quantity("2") > quantity("1999m"));
    }
}
