//! Arguments of `helios top`.

use clap::Args;
use helios_engine::trees;

/// `helios top`
#[derive(Debug, Args)]
#[command(
    after_help = "Shows what `helios serve` does, again and again: calls by kind with the time they took, commits, bytes, reactors and \
their device queues, cache, memory, space, and what is wrong. Rates and times are those of the last interval. `q` or ctrl-C leaves. \
Where the output is no terminal, one frame is printed after one interval.\n
Examples:
  helios top
  helios top --interval 5s
  helios top --once
  helios top --json -n 60 > minute.jsonl"
)]
pub struct TopArgs {
    /// Time between two looks: 500ms, 1s, 1m
    #[arg(short, long, value_name = "SPAN", default_value = "1s", value_parser = interval)]
    pub interval: u64,
    /// End after so many frames, or lines with --json
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one frame, after one interval, and end
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
}

/// Shortest interval: below it the looking would be much of what is seen.
const INTERVAL_NS_MIN: u64 = 50_000_000;

/// Nanoseconds of `500ms` or a span.
fn interval(text: &str) -> Result<u64, String> {
    let milliseconds = text
        .strip_suffix("ms")
        .and_then(|number| number.parse::<u64>().ok());
    let span = match milliseconds {
        Some(number) => number.checked_mul(1_000_000),
        None => trees::parse_span(text),
    };
    span.filter(|span| *span >= INTERVAL_NS_MIN)
        .ok_or_else(|| format!("{text:?} is no span of at least 50ms; write it as in 500ms, 2s, 1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: spans of people and milliseconds are understood; nothing and next to nothing are refused.
    #[test]
    fn intervals() {
        assert_eq!(interval("1s"), Ok(1_000_000_000));
        assert_eq!(interval("50ms"), Ok(INTERVAL_NS_MIN));
        assert_eq!(interval("1m"), Ok(60_000_000_000));
        for text in [
            "",
            "0s",
            "49ms",
            "ms",
            "1",
            "-1s",
            "99999999999999999999ms",
            "18446744073709551615ms",
        ] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
