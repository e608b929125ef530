//! Metrics as tests look at them: whatever is not as the format says, or is not there, is a failure of the test.

use std::ops::Deref;

use helios::observe::reading;

/// A page of metrics.
pub struct Metrics(reading::Metrics);

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        let metrics = reading::Metrics::read(text).unwrap_or_else(|error| panic!("{error}"));
        assert!(metrics.types.values().any(|kind| kind == "histogram"));
        Metrics(metrics)
    }

    /// What all series of a name with these labels add up to.
    pub fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let found = self.0.sum(name, wanted);
        found.unwrap_or_else(|| panic!("there is no {name} {wanted:?}"))
    }
}

impl Deref for Metrics {
    type Target = reading::Metrics;

    fn deref(&self) -> &reading::Metrics {
        &self.0
    }
}
