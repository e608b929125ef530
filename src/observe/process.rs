//! What the operating system says of the process.

use helios_engine::store::Store;

use super::exposition::{Exposition, seconds};

/// The gauges.
pub fn gauges(page: &mut Exposition, store: &Store) {
    page.gauge(
        "helios_uptime_seconds",
        "Time since the store was opened by this process.",
        seconds(store.runtime().clock().now().0),
    );
    page.gauge(
        "helios_resident_bytes",
        "Memory of the process that is in use; 0 where the system does not say.",
        resident_bytes().unwrap_or(0),
    );
}

/// Bytes of the process in memory: the second number of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the figure is of this process. Method: memory that is touched is in it.
    #[test]
    fn memory_that_is_used_is_counted() {
        const MORE: usize = 64 << 20;
        let before = resident_bytes().expect("Linux says it");
        let used = vec![1_u8; MORE];
        let grown = resident_bytes().expect("Linux says it").saturating_sub(before);
        assert!(grown > MORE as u64 / 2, "{grown} bytes for {}", used.len());
    }
}
