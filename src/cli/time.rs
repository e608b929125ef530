//! Times as people write them: `--since 10m`, `--since 2026-11-20`. Shown in UTC, as the engine writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use helios_engine::trees;

/// Nanoseconds since 1970, now.
#[allow(
    clippy::disallowed_methods,
    reason = "`--since 10m` becomes a time before there is a request; the engine keeps its own clock"
)]
fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Parses an age (`90s`, `10m`, `1d12h`) or a date into nanoseconds since 1970. For `clap`.
pub fn parse_since(text: &str) -> Result<u64, String> {
    let age = trees::parse_span(text).map(|span| now_ns().saturating_sub(span));
    age.or_else(|| trees::parse_absolute(text)).ok_or_else(|| {
        format!("{text:?} is no time; write an age (90s, 10m, 2h, 3d, 1w) or a date (2026-11-20, 2026-11-20T12:00:00Z)")
    })
}

/// Parses a time to come: a span from now, a date, or `never` (0), into nanoseconds since 1970. For `clap`.
pub fn parse_until(text: &str) -> Result<u64, String> {
    if text == "never" {
        return Ok(0);
    }
    let span = trees::parse_span(text).map(|span| now_ns().saturating_add(span));
    span.or_else(|| trees::parse_absolute(text)).ok_or_else(|| {
        format!(
            "{text:?} is no time; write a span (12h, 7d), a date (2026-11-20, 2026-11-20T12:00:00Z) or never"
        )
    })
}

/// Parses a span (`90s`, `7d`, `1d12h`) into nanoseconds. For `clap`.
pub fn parse_span(text: &str) -> Result<u64, String> {
    trees::parse_span(text).ok_or_else(|| {
        format!("{text:?} is no span; write a number with s, m, h, d or w: 90s, 10m, 7d, 1d12h")
    })
}

/// `2026-11-20 12:00`, UTC: for lists. Times before 1970 are shown as its beginning.
pub fn show_minutes(time_ns: i64) -> String {
    let mut text = trees::format_utc(u64::try_from(time_ns).unwrap_or(0)).replace('T', " ");
    text.truncate("2026-11-20 12:00".len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: ages count back from now, dates are absolute, and what is neither is refused with the spellings that are.
    #[test]
    fn ages_dates_and_neither() {
        assert_eq!(parse_since("1970-01-02T00:00:00Z"), Ok(86_400_000_000_000));
        assert_eq!(parse_since("9999w"), Ok(0), "an age stops at 1970");
        assert!(parse_since("1h") < parse_since("1m"));
        for text in ["", "m", "-5m", "10 m", "1.5h", "2026-13-01", "yesterday", "1M"] {
            assert!(parse_since(text).is_err(), "{text}");
        }
        assert_eq!(show_minutes(86_400_000_000_000), "1970-01-02 00:00");
    }
}
