//! `resource.Quantity`: exact parsing, comparison and canonical text (k8s.io/apimachinery `pkg/api/resource`).
//! Canonical form rewrites quantities with it; `rules` compares requests and limits; `decide` will sum them.

use std::cmp::Ordering;

/// Parts in one whole: quantities finer than a billionth are rounded away from zero.
const NANO: i128 = 1_000_000_000;
/// No quantity is larger than an int64.
const MAX: i128 = i64::MAX as i128 * NANO;

/// A number with the family of suffixes that it was written in. Compared by its value alone.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It has not the form of one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Its suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
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
        self.nano.cmp(&other.nano)
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    /// The sum, in the suffixes of the first that is not zero; no more than a quantity can be.
    fn add(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano + other.nano).clamp(-MAX, MAX), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { nano: -other.nano, ..other }
    }
}

impl Quantity {
    /// None of anything.
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// A whole number of things.
    pub fn of_count(count: usize) -> Self {
        let nano = i128::try_from(count).unwrap_or(MAX).saturating_mul(NANO).min(MAX);
        Self { nano, format: Format::DecimalSi }
    }

    /// Reads `1500m`, `0.5`, `64Mi`, `1e3`.
    ///
    /// # Errors
    /// If the text is none.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number_ends = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_ends);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let (multiplier, format) = multiplier(suffix)?;
        let nano = magnitude(whole, fraction, multiplier);
        Ok(Self { nano: if text.starts_with('-') { -nano } else { nano }, format })
    }

    /// The whole number, rounded away from zero.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// In thousandths, rounded away from zero.
    pub fn milli_value(self) -> i64 {
        self.scaled(NANO / 1000)
    }

    /// -1, 0 or 1.
    pub fn sign(self) -> i32 {
        self.nano.signum() as i32
    }

    /// Whether it is a multiple of one.
    pub fn is_whole(self) -> bool {
        self.nano % NANO == 0
    }

    fn scaled(self, unit: i128) -> i64 {
        let rounded = div_away_from_zero(self.nano, unit);
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }

    /// The text that Go writes: the largest suffix that leaves a whole number.
    pub fn canonical(self) -> String {
        if self.nano == 0 {
            return "0".to_owned();
        }
        match self.format {
            // What is no whole number would lose its fraction, and what is small its meaning: those are written in decimal.
            Format::BinarySi if self.nano.abs() >= 1024 * NANO && self.is_whole() => self.binary(),
            Format::BinarySi | Format::DecimalSi => {
                let (mantissa, exponent) = self.thousands();
                const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                let at = usize::try_from(exponent / 3 + 3).unwrap_or(3);
                format!("{mantissa}{}", SUFFIXES.get(at).unwrap_or(&""))
            }
            Format::DecimalExponent => match self.thousands() {
                (mantissa, 0) => mantissa.to_string(),
                (mantissa, exponent) => format!("{mantissa}e{exponent}"),
            },
        }
    }

    fn thousands(self) -> (i128, i32) {
        let (mut mantissa, mut exponent) = (self.nano, -9);
        while mantissa % 1000 == 0 && exponent < 18 {
            mantissa /= 1000;
            exponent += 3;
        }
        (mantissa, exponent)
    }

    fn binary(self) -> String {
        const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let (mut mantissa, mut at) = (self.nano / NANO, 0);
        while mantissa % 1024 == 0 && at < SUFFIXES.len() - 1 {
            mantissa /= 1024;
            at += 1;
        }
        format!("{mantissa}{}", SUFFIXES[at])
    }
}

/// How many parts of one whole a suffix stands for: (numerator, powers of ten below one).
#[derive(Clone, Copy)]
enum Multiplier {
    Times(i128),
    TenTo(i32),
}

fn multiplier(suffix: &str) -> Result<(Multiplier, Format), QuantityError> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    if let Some(at) = BINARY.iter().position(|b| *b == suffix) {
        return Ok((Multiplier::Times(1 << (10 * (at + 1))), Format::BinarySi));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Multiplier::TenTo(*exponent), Format::DecimalSi));
    }
    match suffix.strip_prefix(['e', 'E']) {
        Some(digits) => {
            let exponent = digits.parse::<i32>().map_err(|_| QuantityError::Suffix)?;
            Ok((Multiplier::TenTo(exponent), Format::DecimalExponent))
        }
        None if suffix.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '+') => Err(QuantityError::Suffix),
        None => Err(QuantityError::Format),
    }
}

/// `whole.fraction` times the multiplier in billionths, rounded up, capped at the largest quantity.
fn magnitude(whole: &str, fraction: &str, multiplier: Multiplier) -> i128 {
    let fraction = fraction.trim_end_matches('0');
    let digits = || whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0'));
    let mut number: i128 = 0;
    // Digits past what any quantity can hold only decide the rounding; 30 keep every capped value above the cap.
    let mut dropped = 0;
    let mut rest = false;
    for digit in digits() {
        if number < 10_i128.pow(25) {
            number = number * 10 + digit;
        } else {
            dropped += 1;
            rest |= digit != 0;
        }
    }
    number += i128::from(rest);
    let (times, ten_to) = match multiplier {
        Multiplier::Times(times) => (times, 0),
        Multiplier::TenTo(exponent) => (1, exponent),
    };
    let exponent = 9 + ten_to.clamp(-1000, 1000) + dropped - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
    number.checked_mul(times).map_or(MAX, |n| scale_by_ten(n, exponent)).min(MAX)
}

fn scale_by_ten(number: i128, exponent: i32) -> i128 {
    let steps = exponent.unsigned_abs();
    let power = 10_i128.checked_pow(steps);
    match (number, exponent >= 0, power) {
        (0, ..) => 0,
        (_, true, Some(power)) => number.checked_mul(power).unwrap_or(MAX),
        (_, true, None) => MAX,
        (_, false, Some(power)) => div_away_from_zero(number, power),
        (_, false, None) => 1,
    }
}

fn div_away_from_zero(number: i128, by: i128) -> i128 {
    let quotient = number / by;
    if number % by == 0 { quotient } else { quotient + number.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_go_writes_them() {
        for (input, expected) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1023Ki", "1023Ki"),
            ("1953.125Ki", "2000000"),
            ("1.0001Ki", "1024102400u"),
            ("100m", "100m"),
            ("0.1m", "100u"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("12E", "9223372036854775807"),
            ("1000k", "1M"),
            ("64000000", "64M"),
            ("-1500m", "-1500m"),
            ("+3", "3"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("1.0000000000000000000000000000001", "1000000001n"),
        ] {
            assert_eq!(Quantity::parse(input).unwrap().canonical(), expected, "{input}");
        }
    }

    #[test]
    fn sums_keep_the_suffixes_of_the_first() {
        let check = |a: &str, b: &str, sum: &str, difference: &str| {
            let [a, b] = [a, b].map(|text| Quantity::parse(text).unwrap());
            assert_eq!([(a + b).canonical(), (a - b).canonical()], [sum, difference]);
        };
        check("1", "500m", "1500m", "500m");
        check("1Gi", "512Mi", "1536Mi", "512Mi");
        check("0", "1Gi", "1Gi", "-1Gi");
        check("9223372036854775807", "1", "9223372036854775807", "9223372036854775806");
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_upstreams_words() {
        for (input, expected) in [
            ("12Zi", QuantityError::Suffix),
            ("", QuantityError::Format),
            (".", QuantityError::Format),
            ("abc", QuantityError::Format),
            ("1.2.3", QuantityError::Format),
            ("1 Mi", QuantityError::Format),
            ("1e", QuantityError::Suffix),
        ] {
            assert_eq!(Quantity::parse(input).unwrap_err(), expected, "{input}");
        }
    }

    #[test]
    fn quantities_compare_by_value() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!(q("1"), q("1000m"));
        assert!(q("1Ki") > q("1k"));
        assert_eq!(q("100m").milli_value(), 100);
        assert_eq!(q("1500m").value(), 2);
        assert!(q("1500m").sign() > 0 && !q("1500m").is_whole());
    }
}
