//! A strict reader of the text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;

/// A page of metrics. Reading it is as strict as the format: whatever is not allowed is a failure of the test.
pub struct Metrics {
    /// The type of each family.
    pub types: BTreeMap<String, String>,
    /// Each series, by name and labels.
    pub samples: BTreeMap<(String, Vec<(String, String)>), f64>,
}

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        assert!(text.ends_with('\n'));
        let mut types = BTreeMap::new();
        let mut samples = BTreeMap::new();
        let (mut help, mut family) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').expect("a name and a text");
                assert!(!text.is_empty() && !types.contains_key(name), "{line}");
                name.clone_into(&mut help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(name, help, "HELP comes first");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                name.clone_into(&mut family);
            } else {
                let (name, labels, value) = sample(line);
                let of_family = if types[&family] == "histogram" {
                    ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|end| name == format!("{family}{end}"))
                } else {
                    name == family
                };
                assert!(of_family, "{line} among those of {family}");
                assert!(samples.insert((name, labels), value).is_none(), "twice: {line}");
            }
        }
        let metrics = Metrics { types, samples };
        metrics.check_histograms();
        metrics
    }

    /// Buckets grow with their bounds, and the last one is the count.
    pub fn check_histograms(&self) {
        let mut buckets: BTreeMap<(String, Vec<_>), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            let Some(family) = name.strip_suffix("_bucket") else {
                continue;
            };
            let (bounds, labels): (Vec<_>, Vec<_>) =
                labels.iter().cloned().partition(|(name, _)| name == "le");
            let bound = match &*bounds[0].1 {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().expect("a number"),
            };
            let series = buckets.entry((family.to_owned(), labels)).or_default();
            series.push((bound, *value));
        }
        assert!(!buckets.is_empty());
        for ((family, labels), mut series) in buckets {
            series.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(
                series.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1),
                "{family}: {series:?}"
            );
            let (bound, last) = series.pop().expect("a bucket");
            assert_eq!(bound, f64::INFINITY);
            let count = self.samples[&(format!("{family}_count"), labels.clone())];
            assert_eq!(last, count, "{family} {labels:?}");
            let sum = self.samples[&(format!("{family}_sum"), labels)];
            assert!(sum >= 0.0 && (count > 0.0 || sum == 0.0), "{family}");
        }
    }

    /// What all series of a name with these labels add up to.
    pub fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let is_wanted = |labels: &[(String, String)]| {
            wanted
                .iter()
                .all(|(name, value)| labels.contains(&((*name).to_owned(), (*value).to_owned())))
        };
        let found: Vec<f64> = self
            .samples
            .iter()
            .filter(|((found, labels), _)| found == name && is_wanted(labels))
            .map(|(_, value)| *value)
            .collect();
        assert!(!found.is_empty(), "there is no {name} {wanted:?}");
        found.iter().sum()
    }
}

/// Name, labels and value of a line.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let end = line.find(['{', ' ']).expect("something behind the name");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    while rest.starts_with(['{', ',']) {
        let (label, value) = rest[1..].split_once("=\"").expect("a label");
        assert!(is_name(label), "{line}");
        let mut text = String::new();
        let mut letters = value.char_indices();
        let after = loop {
            match letters.next().expect("an end of the value") {
                (at, '"') => break at + 1,
                (_, '\\') => match letters.next().expect("an escaped letter").1 {
                    'n' => text.push('\n'),
                    letter @ ('\\' | '"') => text.push(letter),
                    other => panic!("\\{other} in {line}"),
                },
                (_, letter) => text.push(letter),
            }
        };
        labels.push((label.to_owned(), text));
        rest = &value[after..];
        if let Some(end) = rest.strip_prefix('}') {
            rest = end;
            break;
        }
    }
    labels.sort();
    let value = rest
        .strip_prefix(' ')
        .expect("a value")
        .parse()
        .expect("a number");
    (name.to_owned(), labels, value)
}
