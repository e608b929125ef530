//! Reads pages of metrics, as strictly as their format is defined; the other half of [`exposition`](super::exposition).
//!
//! Invariant: a page that is taken has types for all its series, no series twice, and histograms whose buckets agree with their
//! counts, so that whoever has it can subtract and divide without looking again.
//! Rejected: taking what is understood and leaving the rest (a page that is cut off would be a quiet server).

use std::collections::BTreeMap;

/// The labels of a series, by name.
pub type Labels = Vec<(String, String)>;

/// A page of metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// The type of each family.
    pub types: BTreeMap<String, String>,
    /// Each series, by name and labels.
    pub samples: BTreeMap<(String, Labels), f64>,
}

/// What is no page of metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {line}")]
pub struct Misread {
    what: &'static str,
    line: String,
}

fn misread(what: &'static str, line: impl Into<String>) -> Misread {
    Misread {
        what,
        line: line.into(),
    }
}

/// Buckets of one histogram: upper bounds, and how many values are at most as large. The last bound is infinite.
pub type Buckets = Vec<(f64, f64)>;

impl Metrics {
    /// Reads a page.
    ///
    /// # Errors
    /// The first line that is not as the format says.
    pub fn read(text: &str) -> Result<Metrics, Misread> {
        if !text.ends_with('\n') {
            return Err(misread("the page is cut off", text.lines().last().unwrap_or("")));
        }
        let mut metrics = Metrics::default();
        let (mut help, mut family, mut kind) = (String::new(), String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
                if text.is_empty() || metrics.types.contains_key(name) {
                    return Err(misread("a family says nothing of itself, or comes twice", line));
                }
                name.clone_into(&mut help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').unwrap_or((rest, ""));
                if name != help || !["counter", "gauge", "histogram"].contains(&of) {
                    return Err(misread("no type that is known, or not behind its HELP", line));
                }
                if (of == "counter") != name.ends_with("_total") {
                    return Err(misread("counters and nothing else end in _total", line));
                }
                if metrics.types.insert(name.to_owned(), of.to_owned()).is_some() {
                    return Err(misread("a type comes twice", line));
                }
                name.clone_into(&mut family);
                of.clone_into(&mut kind);
            } else {
                let (name, labels, value) = sample(line).ok_or_else(|| misread("no sample", line))?;
                let end = name.strip_prefix(&*family);
                let is_of_family = match &*kind {
                    "histogram" => end.is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end)),
                    _ => end == Some("") && !family.is_empty(),
                };
                if !is_of_family {
                    return Err(misread("a sample among those of another family", line));
                }
                if metrics.samples.insert((name, labels), value).is_some() {
                    return Err(misread("a series comes twice", line));
                }
            }
        }
        metrics.check_histograms()?;
        Ok(metrics)
    }

    /// Buckets grow with their bounds, and the last one is the count.
    fn check_histograms(&self) -> Result<(), Misread> {
        let is_histogram = |(_, kind): &(&String, &String)| *kind == "histogram";
        for (family, _) in self.types.iter().filter(is_histogram) {
            for (labels, buckets) in self.histograms(family) {
                let wrong = |what| misread(what, format!("{family} {labels:?}"));
                let grows = buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1);
                let last = buckets.last().filter(|(bound, _)| *bound == f64::INFINITY);
                let (Some((_, last)), true) = (last, grows) else {
                    return Err(wrong("buckets that do not grow, or have no end"));
                };
                let of = |end: &str| self.samples.get(&(format!("{family}{end}"), labels.clone()));
                let (Some(count), Some(sum)) = (of("_count"), of("_sum")) else {
                    return Err(wrong("a histogram without a count or a sum"));
                };
                if count != last || *sum < 0.0 || (*count == 0.0 && *sum != 0.0) {
                    return Err(wrong("a histogram that does not agree with itself"));
                }
            }
        }
        Ok(())
    }

    /// The histograms of a family, by their labels.
    pub fn histograms(&self, family: &str) -> BTreeMap<Labels, Buckets> {
        let mut found: BTreeMap<Labels, Buckets> = BTreeMap::new();
        for (labels, value) in self.series(&format!("{family}_bucket")) {
            let (bounds, labels): (Labels, Labels) =
                labels.iter().cloned().partition(|(name, _)| name == "le");
            let bound = match bounds.first() {
                Some((_, bound)) if bound == "+Inf" => f64::INFINITY,
                // What is no number is before every other bound and never the last one.
                Some((_, bound)) => bound.parse().unwrap_or(f64::NAN),
                None => f64::NAN,
            };
            found.entry(labels).or_default().push((bound, value));
        }
        for buckets in found.values_mut() {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        found
    }

    /// All series of a name.
    pub fn series(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        let first = (name.to_owned(), Labels::new());
        self.samples
            .range(first..)
            .take_while(move |((found, _), _)| found == name)
            .map(|((_, labels), value)| (labels, *value))
    }

    /// What all series of a name with these labels add up to; `None` if there is none.
    pub fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
        let is_wanted = |labels: &Labels| {
            let mut wanted = wanted.iter();
            wanted.all(|(name, value)| labels.iter().any(|(found, is)| found == name && is == value))
        };
        let mut found = self
            .series(name)
            .filter(|(labels, _)| is_wanted(labels))
            .peekable();
        found.peek()?;
        Some(found.map(|(_, value)| value).sum())
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Name, labels and value of a line.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    if !is_name(name) {
        return None;
    }
    let mut labels = Labels::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        rest = loop {
            let (label, value) = inside.split_once("=\"")?;
            if !is_name(label) {
                return None;
            }
            let (text, after) = quoted(value)?;
            labels.push((label.to_owned(), text));
            match after.strip_prefix('}') {
                Some(end) => break end,
                None => inside = after.strip_prefix(',')?,
            }
        };
    }
    labels.sort();
    let value: f64 = rest.strip_prefix(' ')?.parse().ok()?;
    (!value.is_nan()).then(|| (name.to_owned(), labels, value))
}

/// A text up to its closing quote, and what follows.
fn quoted(value: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = value.char_indices();
    loop {
        match letters.next()? {
            (at, '"') => return Some((text, &value[at + 1..])),
            (_, '\\') => match letters.next()?.1 {
                'n' => text.push('\n'),
                letter @ ('\\' | '"') => text.push(letter),
                _ => return None,
            },
            (_, letter) => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::{Exposition, Kind};
    use super::*;

    fn page() -> String {
        let mut page = Exposition::default();
        page.counter("a_total", "back\\slash, \"quotes\" and\nlines", 7_u64);
        let mut family = page.family("b", Kind::Gauge, "two");
        family.sample(&[("x", "a\"b\\c\nd")], 0.5);
        family.sample(&[("x", "é"), ("y", "")], true);
        let mut family = page.family("c_seconds", Kind::Histogram, "three");
        for (name, counts) in [("1", [1, 2, 3]), ("2", [0, 0, 1])] {
            family.histogram(
                &[("x", name)],
                &[10_000, 2_500_000_000],
                &counts[..2],
                counts[2],
                9,
            );
        }
        page.into_text()
    }

    /// Goal: what one half writes the other reads. Method: hostile labels, every kind of family.
    #[test]
    fn a_page_is_read_as_it_was_written() {
        let metrics = Metrics::read(&page()).expect("a sound page");
        assert_eq!(metrics.types.len(), 3);
        assert_eq!(metrics.sum("a_total", &[]), Some(7.0));
        assert_eq!(metrics.sum("b", &[("x", "a\"b\\c\nd")]), Some(0.5));
        assert_eq!(metrics.sum("b", &[]), Some(1.5));
        assert_eq!(metrics.sum("b", &[("x", "none")]), None);
        assert_eq!(metrics.sum("a", &[]), None);
        let histograms = metrics.histograms("c_seconds");
        assert_eq!(histograms.len(), 2);
        assert_eq!(
            histograms[&vec![("x".to_owned(), "1".to_owned())]],
            [(0.000_01, 1.0), (2.5, 2.0), (f64::INFINITY, 3.0)]
        );
    }

    /// Goal: a page that is not as the format says is refused whole. Method: one thing wrong at a time.
    #[test]
    fn what_is_no_page_is_refused() {
        let page = page();
        for (right, wrong) in [
            ("# TYPE a_total counter", "# TYPE a_total gauge"),
            ("# TYPE a_total counter", "# TYPE b_total counter"),
            ("# TYPE b gauge", "# TYPE b summary"),
            ("# HELP b two\n", ""),
            ("a_total 7", "a_total seven"),
            ("a_total 7", "a_total NaN"),
            ("a_total 7", "a_total 7\na_total 8"),
            ("a_total 7", "b 7"),
            ("x=\"é\"", "x=\"é"),
            ("x=\"é\"", "é=\"x\""),
            ("y=\"\"", "y=\"\\x\""),
            ("y=\"\"}", "y=\"\""),
            ("le=\"2.5\"} 2", "le=\"2.5\"} 0"),
            ("le=\"+Inf\"} 3", "le=\"+Inf\"} 4"),
            ("le=\"+Inf\"", "le=\"9\""),
            ("c_seconds_sum{x=\"2\"}", "c_seconds_total{x=\"2\"}"),
            ("# HELP a_total", "# NOTE a_total"),
        ] {
            let changed = page.replacen(right, wrong, 1);
            assert_ne!(changed, page, "{right}");
            assert!(Metrics::read(&changed).is_err(), "{wrong}");
        }
        for end in (0..page.len()).filter(|end| page.is_char_boundary(*end)) {
            let cut = &page[..end];
            let is_whole = cut.ends_with('\n') && Metrics::read(cut).is_ok();
            assert!(
                !is_whole || !cut.lines().last().is_some_and(|line| line.contains("_bucket")),
                "cut at {end}"
            );
        }
        assert!(Metrics::read("").is_err());
    }
}
