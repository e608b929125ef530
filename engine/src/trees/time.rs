//! Times as people write them: RFC 3339, and how long ago.
//!
//! Own code because the engine needs one format and no time zones' rules; the calendar is Howard Hinnant's
//! `days_from_civil`.

const SECOND_NS: u64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// `2026-11-21T09:30:00Z`, for nanoseconds since 1970.
pub fn format_utc(time_ns: u64) -> String {
    let seconds = i64::try_from(time_ns / SECOND_NS).unwrap_or(i64::MAX);
    let (days, rest) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Nanoseconds since 1970 of an RFC 3339 time (`2026-11-21T09:30:00Z`, `2026-11-21 09:30:00.5+01:00`) or date
/// (`2026-11-21`, midnight UTC). Nothing for anything else, and for times before 1970 or after 2554.
pub fn parse_absolute(text: &str) -> Option<u64> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    literal(&mut rest, "-")?;
    let month = digits(&mut rest, 2)?;
    literal(&mut rest, "-")?;
    let day = digits(&mut rest, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    if rest.is_empty() {
        return total_ns(days * DAY_SECONDS, 0);
    }
    literal(&mut rest, "T")
        .or_else(|| literal(&mut rest, "t"))
        .or_else(|| literal(&mut rest, " "))?;
    let hour = digits(&mut rest, 2)?;
    literal(&mut rest, ":")?;
    let minute = digits(&mut rest, 2)?;
    literal(&mut rest, ":")?;
    let second = digits(&mut rest, 2)?;
    // 60 is a leap second; it counts as the first second of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction_ns = match literal(&mut rest, ".") {
        Some(()) => fraction(&mut rest)?,
        None => 0,
    };
    let offset = if literal(&mut rest, "Z")
        .or_else(|| literal(&mut rest, "z"))
        .is_some()
    {
        0
    } else {
        let sign = if literal(&mut rest, "+").is_some() {
            1
        } else {
            literal(&mut rest, "-").map(|()| -1)?
        };
        let hours = digits(&mut rest, 2)?;
        literal(&mut rest, ":")?;
        let minutes = digits(&mut rest, 2)?;
        if hours > 23 || minutes > 59 {
            return None;
        }
        sign * (hours * 3600 + minutes * 60)
    };
    if !rest.is_empty() {
        return None;
    }
    total_ns(
        days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset,
        fraction_ns,
    )
}

/// Nanoseconds of a span like `10m`, `36h` or `1d12h`: numbers with the units s, m, h, d, w. Nothing for anything else.
pub fn parse_span(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit * SECOND_NS)?)?;
        rest = &rest[end + 1..];
    }
    (!text.is_empty()).then_some(total)
}

/// Nanoseconds since 1970 of a span before `now_ns`, or of an absolute time.
pub fn parse_when(text: &str, now_ns: u64) -> Option<u64> {
    parse_span(text)
        .map(|span| now_ns.saturating_sub(span))
        .or_else(|| parse_absolute(text))
}

fn digits(rest: &mut &str, count: usize) -> Option<i64> {
    let (number, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    if plain { number.parse().ok() } else { None }
}

fn literal(rest: &mut &str, expected: &str) -> Option<()> {
    *rest = rest.strip_prefix(expected)?;
    Some(())
}

/// Nanoseconds of the digits after the point; digits beyond the ninth are cut.
fn fraction(rest: &mut &str) -> Option<u64> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number = &rest[..end.min(9)];
    let scale = 10u64.pow(9 - u32::try_from(number.len()).ok()?);
    *rest = &rest[end..];
    Some(number.parse::<u64>().ok()? * scale)
}

fn total_ns(seconds: i64, nanoseconds: u64) -> Option<u64> {
    u64::try_from(seconds)
        .ok()?
        .checked_mul(SECOND_NS)?
        .checked_add(nanoseconds)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: times read and print as the standard says. Method: examples, among them those of RFC 3339.
    #[test]
    fn absolute_times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1985-04-12T23:20:50.52Z", 482_196_050),
            ("1996-12-19T16:39:57-08:00", 851_042_397),
            ("1990-12-31T23:59:60Z", 662_688_000),
            ("2000-02-29", 951_782_400),
            ("2026-11-21 10:30:00+01:00", 1_795_253_400),
        ] {
            assert_eq!(
                parse_absolute(text).map(|ns| ns / SECOND_NS),
                Some(seconds),
                "{text}"
            );
        }
        assert_eq!(
            parse_absolute("1985-04-12T23:20:50.52Z").unwrap() % SECOND_NS,
            520_000_000
        );
        assert_eq!(format_utc(1_795_253_400 * SECOND_NS), "2026-11-21T09:30:00Z");
    }

    /// Goal: reading is the inverse of printing. Method: every day of several centuries.
    #[test]
    fn every_day_reads_back() {
        for day in 0..200_000u64 {
            let time_ns = (day * 86_400 + day % 86_400) * SECOND_NS;
            assert_eq!(parse_absolute(&format_utc(time_ns)), Some(time_ns));
        }
    }

    /// Goal: spans add up; anything else is refused. Method: examples.
    #[test]
    fn spans_are_read() {
        for (text, seconds) in [("10m", 600), ("1d12h", 129_600), ("2w", 1_209_600), ("0s", 0)] {
            assert_eq!(parse_span(text), Some(seconds * SECOND_NS), "{text}");
        }
        for text in ["", "10", "m", "10x", "-1m", "1.5h", "99999999999999w", "10 m"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
        let bad = [
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "1969-12-31",
            "2026-01-01T",
            "2026-01-01T00:00:00",
            "x",
        ];
        for text in bad.into_iter().chain([
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zz",
        ]) {
            assert_eq!(parse_absolute(text), None, "{text}");
        }
        assert_eq!(parse_when("1s", 5 * SECOND_NS), Some(4 * SECOND_NS));
    }
}
