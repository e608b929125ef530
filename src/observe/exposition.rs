//! The text format in which metrics are exposed, version 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Owns names, escaping and order: a family says HELP and TYPE before its samples, and all its samples follow each other.
//! Rejected: a library of metric types (the figures are kept elsewhere already, and would be copied into its registry).

use std::fmt::{self, Write};

/// Content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process starts again. Its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bounds.
    Histogram,
}

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// Pages of metrics as they are written.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family; its samples are to follow.
    pub fn family<'a>(&'a mut self, name: &'static str, kind: Kind, help: &str) -> Family<'a> {
        debug_assert!(
            (kind == Kind::Counter) == name.ends_with("_total"),
            "{name} is a {kind:?}"
        );
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {}", Escaped(help, false)));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { page: self, name }
    }

    /// A family of one sample.
    pub fn counter(&mut self, name: &'static str, help: &str, value: impl Into<Value>) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    /// A family of one sample.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: impl Into<Value>) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("memory takes everything");
        self.0.push('\n');
    }
}

/// A value, whole numbers exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// Seconds, for example.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => value.fmt(f),
            Value::Real(value) => value.fmt(f),
        }
    }
}

/// Nanoseconds in the unit of all metrics of time.
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Samples of one name.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Exposition,
    name: &'static str,
}

impl Family<'_> {
    /// One sample. No two of a family may have the same labels.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Into<Value>) {
        let (name, value) = (self.name, value.into());
        self.page.line(format_args!("{name}{} {value}", Labels(labels)));
    }

    /// One histogram: for each bound how many values are at most as large, then how many there are and what they add up to.
    pub fn histogram(
        &mut self,
        labels: &[Label<'_>],
        bounds_ns: &[u64],
        within: &[u64],
        count: u64,
        sum_ns: u64,
    ) {
        let name = self.name;
        let mut bucket = |bound: &str, count: u64| {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", bound)]).collect();
            self.page
                .line(format_args!("{name}_bucket{} {count}", Labels(&labels)));
        };
        for (bound, count) in bounds_ns.iter().zip(within) {
            bucket(&seconds(*bound).to_string(), *count);
        }
        bucket("+Inf", count);
        let labels = Labels(labels);
        self.page
            .line(format_args!("{name}_sum{labels} {}", seconds(sum_ns)));
        self.page.line(format_args!("{name}_count{labels} {count}"));
    }
}

struct Labels<'a>(&'a [Label<'a>]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.0.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            write!(f, "{before}{name}=\"{}\"", Escaped(value, true))?;
        }
        if self.0.is_empty() {
            Ok(())
        } else {
            f.write_char('}')
        }
    }
}

/// A text on one line; quotes are escaped within labels only.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a page is what the format says, hostile texts included. Method: against one written by hand.
    #[test]
    fn pages_are_written_as_the_format_says() {
        let mut page = Exposition::default();
        page.counter("a_total", "back\\slash, \"quotes\" and\nlines", u64::MAX);
        let mut family = page.family("b", Kind::Gauge, "two");
        family.sample(&[("x", "a\"b\\c\nd")], 0.5);
        family.sample(&[("x", "é"), ("y", "")], true);
        page.family("c_seconds", Kind::Histogram, "three").histogram(
            &[("x", "1")],
            &[10_000, 2_500_000_000],
            &[1, 2],
            3,
            1_500_000_000,
        );
        let expected = r#"# HELP a_total back\\slash, "quotes" and\nlines
# TYPE a_total counter
a_total 18446744073709551615
# HELP b two
# TYPE b gauge
b{x="a\"b\\c\nd"} 0.5
b{x="é",y=""} 1
# HELP c_seconds three
# TYPE c_seconds histogram
c_seconds_bucket{x="1",le="0.00001"} 1
c_seconds_bucket{x="1",le="2.5"} 2
c_seconds_bucket{x="1",le="+Inf"} 3
c_seconds_sum{x="1"} 1.5
c_seconds_count{x="1"} 3
"#;
        assert_eq!(page.into_text(), expected);
    }
}
