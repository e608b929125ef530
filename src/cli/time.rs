//! Times as people write and read them: `10m`, `3d`, `2026-11-20`, `2026-11-20T12:00:00Z`; shown in local time.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit, Zoned};

/// Nanoseconds since 1970, now.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line turns `--since 10m` into a time before it makes a request; the engine keeps its own clock"
)]
fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Parses an age (`90s`, `10m`, `2h`, `3d`, `1w`) or a date into nanoseconds since 1970. For `clap`.
pub fn parse_since(text: &str) -> Result<u64, String> {
    since(text, now_ns())
}

fn since(text: &str, now_ns: u64) -> Result<u64, String> {
    if let Some(age) = age_ns(text) {
        return Ok(now_ns.saturating_sub(age));
    }
    let timestamp = if let Ok(timestamp) = text.parse::<Timestamp>() {
        timestamp
    } else if let Ok(civil) = text.parse::<DateTime>() {
        // A date without an offset means the local one.
        TimeZone::system()
            .to_zoned(civil)
            .map_err(|error| format!("{text:?}: {error}"))?
            .timestamp()
    } else {
        return Err(format!(
            "{text:?} is no time; write an age (90s, 10m, 2h, 3d, 1w) or a date (2026-11-20, 2026-11-20T12:00:00Z)"
        ));
    };
    Ok(u64::try_from(timestamp.as_nanosecond()).unwrap_or(0))
}

fn age_ns(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(seconds)?.checked_mul(1_000_000_000)
}

/// `2026-11-20 12:00:00 +01:00`, local.
pub fn show(time_ns: u64) -> String {
    zoned(time_ns, TimeZone::system()).map_or_else(
        || format!("{time_ns} ns after 1970"),
        |zoned| zoned.strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
    )
}

/// `2026-11-20 12:00`, local: for lists.
pub fn show_minutes(time_ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(
        |_| format!("{time_ns} ns after 1970"),
        |timestamp| {
            timestamp
                .to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M")
                .to_string()
        },
    )
}

fn zoned(time_ns: u64, zone: TimeZone) -> Option<Zoned> {
    let timestamp = Timestamp::from_nanosecond(i128::from(time_ns)).ok()?;
    timestamp.to_zoned(zone).round(Unit::Second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000_000_000;

    /// Goal: ages count back from now, dates are absolute; both stop at 1970.
    #[test]
    fn ages_and_dates() {
        assert_eq!(since("90s", NOW), Ok(NOW - 90_000_000_000));
        assert_eq!(since("10m", NOW), Ok(NOW - 600_000_000_000));
        assert_eq!(since("3d", NOW), Ok(NOW - 259_200_000_000_000));
        assert_eq!(since("9999w", NOW), Ok(0));
        assert_eq!(since("1970-01-02T00:00:00Z", NOW), Ok(86_400_000_000_000));
        assert_eq!(since("1970-01-02T01:00:00+01:00", NOW), Ok(86_400_000_000_000));
        assert!(since("2026-11-20", NOW).is_ok());
        assert!(since("2026-11-20 12:30:00", NOW).is_ok());
    }

    /// Goal: what is no time is refused with the spellings that are.
    #[test]
    fn refusals() {
        for text in [
            "",
            "m",
            "-5m",
            "10 m",
            "1.5h",
            "2026-13-01",
            "yesterday",
            "99999999999999999999w",
            "1M",
            "é",
        ] {
            assert!(since(text, NOW).is_err(), "{text}");
        }
    }

    /// Goal: a shown time has seconds and an offset.
    #[test]
    fn shown() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let text =
            zoned(86_400_000_000_000, zone).map(|zoned| zoned.strftime("%Y-%m-%d %H:%M:%S %:z").to_string());
        assert_eq!(text.as_deref(), Some("1970-01-02 01:00:00 +01:00"));
    }
}
