//! Times as the API writes them. The clock is never read here: a time comes in as an argument.

use jiff::Timestamp;

/// RFC 3339 in seconds, UTC: `metav1.Time`.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in microseconds, UTC: `metav1.MicroTime`.
pub fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Reads either form.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
