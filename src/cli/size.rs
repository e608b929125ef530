//! Sizes as people write and read them: powers of 1024, `100G`, `1.5T`, `4096`.

/// Units by power of 1024.
const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Parses `100G`, `1.5T`, `512MiB`, `4096`. For `clap`.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write bytes or a unit, as in 4096, 512M, 100G, 1.5T");
    let text = text.trim();
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = text.split_at(digits);
    let power: u32 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 1,
        "m" | "mib" => 2,
        "g" | "gib" => 3,
        "t" | "tib" => 4,
        "p" | "pib" => 5,
        _ => return Err(wrong()),
    };
    let scale = 1u128 << (10 * power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty()
        || fraction.len() > 9
        || fraction.contains('.')
        || (power == 0 && number.contains('.'))
    {
        return Err(wrong());
    }
    let whole: u128 = whole.parse().map_err(|_| wrong())?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        let parts: u128 = fraction.parse().map_err(|_| wrong())?;
        parts * scale / 10u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?)
    };
    whole
        .checked_mul(scale)
        .and_then(|bytes| bytes.checked_add(fraction))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| format!("{text} is more than 2^64 bytes"))
}

/// `1.5 GiB`; three significant digits.
pub fn show(bytes: u64) -> String {
    let mut unit = 0;
    let mut scaled = bytes as f64;
    while scaled >= 1023.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let name = UNITS[unit];
    match scaled {
        _ if unit == 0 => format!("{bytes} {name}"),
        s if s < 9.995 => format!("{s:.2} {name}"),
        s if s < 99.95 => format!("{s:.1} {name}"),
        s => format!("{s:.0} {name}"),
    }
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every documented spelling means what it says.
    #[test]
    fn spellings() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("512MiB", 512 << 20),
            ("100G", 100 << 30),
            ("1.5T", 3 << 39),
            ("0.5 g", 1 << 29),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    /// Goal: what is no size is refused with words, never rounded, wrapped or panicked on.
    #[test]
    fn refusals() {
        for text in [
            "",
            "G",
            ".5G",
            "-1",
            "1x",
            "1.5",
            "1.2.3G",
            "16777216T",
            "99999999999999999999999999999999999999999",
            "1e3",
            "٣G",
            "1.0000000001G",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// Goal: nothing typed panics or is misread. Method: every text of up to five of the characters that mean something;
    /// what is understood is what its digits and unit say, as fractions.
    #[test]
    fn short_texts() {
        const CHARACTERS: [char; 10] = ['0', '9', '.', 'k', 'M', 'p', 'i', 'B', ' ', 'é'];
        let mut understood = 0;
        for number in 0..CHARACTERS.len().pow(5) {
            let mut rest = number;
            let mut text = String::new();
            while rest > 0 {
                text.push(CHARACTERS[rest % CHARACTERS.len()]);
                rest /= CHARACTERS.len();
            }
            let Ok(bytes) = parse(&text) else { continue };
            understood += 1;
            let plain = text.trim().to_ascii_lowercase();
            let unit = plain.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let (whole, fraction) = plain[..plain.len() - unit.len()]
                .split_once('.')
                .unwrap_or((&plain[..plain.len() - unit.len()], ""));
            let scale: u128 = match unit.trim().chars().next() {
                Some('k') => 1 << 10,
                Some('m') => 1 << 20,
                Some('p') => 1 << 50,
                _ => 1,
            };
            let digits: u128 = format!("{whole}{fraction}").parse().expect("digits");
            let expected = digits * scale / 10u128.pow(u32::try_from(fraction.len()).expect("few"));
            assert_eq!(u128::from(bytes), expected, "{text:?}");
        }
        assert!(understood > 900, "{understood}");
    }

    /// Goal: three significant digits, never "1024 MiB".
    #[test]
    fn shown() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 << 10, "10.0 KiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (100 << 30, "100 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
        assert_eq!(count(0), "0");
        assert_eq!(count(1234567), "1,234,567");
        assert_eq!(count(123), "123");
    }
}
