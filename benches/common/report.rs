//! How figures are printed: machine, rows of percentiles, ratios.

use std::path::Path;

use hdrhistogram::Histogram;
use helios::workloads::machine::Machine;

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

/// The sections that are asked for on the command line; all of them, if none is.
pub fn is_wanted(section: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    words.peek().is_none() || words.any(|word| section.contains(word.as_str()))
}

/// Says what the figures were measured on.
pub fn machine() {
    println!("machine: {}", Machine::around(Path::new(".")));
}

/// A section's heading: question, ceiling, prediction.
pub fn heading(question: &str, ceiling: &str, prediction: &str) {
    println!("\n{question}\n  ceiling: {ceiling}\n  predicted: {prediction}");
}

/// One row: median, P95, P99 in microseconds.
pub fn row(name: &str, times: &Histogram<u64>) {
    let at = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "  {name:<44} median {:>9.2} us   P95 {:>9.2} us   P99 {:>9.2} us   n {}",
        at(0.5),
        at(0.95),
        at(0.99),
        times.len()
    );
}

/// Ratios of two rows.
pub fn ratio(name: &str, times: &Histogram<u64>, base: &Histogram<u64>) {
    let at =
        |quantile: f64| times.value_at_quantile(quantile) as f64 / base.value_at_quantile(quantile) as f64;
    println!(
        "  {name:<44} median {:>8.2}x     P95 {:>8.2}x     P99 {:>8.2}x",
        at(0.5),
        at(0.95),
        at(0.99)
    );
}

/// The median of some figures, which are put in order.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median, lowest and highest of the rounds' figures.
pub fn spread(name: &str, figures: &mut [f64]) {
    let median = median(figures);
    if let (Some(lowest), Some(highest)) = (figures.first(), figures.last()) {
        println!(
            "  {name:<48} median {median:>7.2}   ({lowest:.2} to {highest:.2}, {} rounds)",
            figures.len()
        );
    }
}
