//! Points in time: nanoseconds since the Unix epoch, and how Go prints them. Pure but for [`now`].

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, by the wall clock. A clock before 1970 reads as 0.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// As Go's `time.RFC3339Nano` prints UTC: trailing zeros of the fraction are left out.
pub(crate) fn rfc3339_nano(nanoseconds: i64) -> String {
    let ([year, month, day, hour, minute, second], fraction) = parts(nanoseconds);
    let digits = format!(".{fraction:09}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{digits}Z")
}

/// `20060102-150405.000000000`, which sorts by age.
pub(crate) fn compact(nanoseconds: i64) -> String {
    let ([year, month, day, hour, minute, second], fraction) = parts(nanoseconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}.{fraction:09}")
}

/// Year to second, and the fraction.
fn parts(nanoseconds: i64) -> ([i64; 6], i64) {
    let (seconds, fraction) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    ([year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60], fraction)
}

/// Year, month and day of the n-th day since 1970-01-01 in the Gregorian calendar.
///
/// Counted in eras of 400 years (146,097 days) and in years that begin on 1 March, so that the leap day is a year's last.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        let check = |nanoseconds, expected: &str| assert_eq!(rfc3339_nano(nanoseconds), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(1_000_000_000, "1970-01-01T00:00:01Z");
        check(951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z");
        check(1_709_251_199_120_000_000, "2024-02-29T23:59:59.12Z");
        check(1_763_923_503_999_999_999, "2025-11-23T18:45:03.999999999Z");
        check(4_107_542_400_000_000_000, "2100-03-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59.999999999Z");
    }
}
