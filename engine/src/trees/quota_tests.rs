use super::*;
use crate::format::ContentId;
use crate::reactor::block_on;
use crate::trees::testing::{commit, trees};
use crate::trees::{CommitOptions, ExpectHead};

/// Commits a file of `size` bytes that differs by `seed`.
fn step(trees: &Trees, branch: &str, seed: u64, size: usize) -> Result<ContentId> {
    let content = format!("{seed:>size$}");
    commit(trees, branch, &[("a", &content)], &CommitOptions::default()).map(|outcome| outcome.commit)
}

fn set(trees: &Trees, quotas: &[(&str, u64)], measured: u64) {
    let quotas: Vec<(String, u64)> = quotas
        .iter()
        .map(|(prefix, limit)| ((*prefix).to_owned(), *limit))
        .collect();
    let measure = |prefixes: &[&str]| Ok(vec![measured; prefixes.len()]);
    block_on(trees.set_quotas(&quotas, measure)).unwrap();
}

fn used(trees: &Trees, prefix: &str) -> u64 {
    let quotas = trees.quotas().unwrap();
    quotas
        .into_iter()
        .find(|quota| quota.prefix == prefix)
        .unwrap()
        .used_bytes
}

/// Goal: what is stored counts, once, on the branches of the prefix only; what would be too much is refused and
/// changes nothing. Method: commits up to the limit, on branches inside and outside.
#[test]
fn commits_count_up_to_the_limit() {
    let trees = trees();
    set(&trees, &[("agent-", 10_000)], 1000);
    step(&trees, "agent-1", 1, 3000).unwrap();
    let first = used(&trees, "agent-");
    assert!((4000..5000).contains(&first), "{first}");
    step(&trees, "main", 2, 50_000).unwrap();
    assert_eq!(used(&trees, "agent-"), first, "another branch");
    step(&trees, "agent-2", 1, 3000).unwrap();
    let second = used(&trees, "agent-");
    assert!(second < first + 1000, "only the commit is new: {second}");
    let head = step(&trees, "agent-2", 3, 3000).unwrap();
    let refused = step(&trees, "agent-2", 4, 3000);
    assert!(
        matches!(&refused, Err(Error::OverQuota { prefix, limit: 10_000, .. }) if prefix == "agent-"),
        "{refused:?}"
    );
    assert_eq!(trees.branch("agent-2").unwrap().commit, head);
    assert!(used(&trees, "agent-") <= 10_000);
    step(&trees, "agent-2", 5, 300).unwrap();
    block_on(trees.delete_branch("agent-2", ExpectHead::Any)).unwrap();
    step(&trees, "agent-1", 6, 3000).unwrap();
}

/// Goal: a measurement takes the place of what was counted before; several quotas hold together. Method: a new
/// measurement, a wider prefix, then none.
#[test]
fn a_measurement_starts_anew() {
    let trees = trees();
    set(&trees, &[("agent-", 10_000)], 0);
    step(&trees, "agent-1", 1, 5000).unwrap();
    set(&trees, &[("agent-", 10_000), ("", 12_000)], 500);
    assert_eq!((used(&trees, "agent-"), used(&trees, "")), (500, 500));
    step(&trees, "main", 2, 9000).unwrap();
    assert_eq!(used(&trees, "agent-"), 500);
    let refused = step(&trees, "agent-1", 3, 5000);
    assert!(
        matches!(&refused, Err(Error::OverQuota { prefix, .. }) if prefix.is_empty()),
        "{refused:?}"
    );
    set(&trees, &[], 0);
    assert_eq!(trees.quotas().unwrap(), []);
    step(&trees, "agent-1", 4, 50_000).unwrap();
}

/// Goal: what was counted is durable and found by another handle. Method: a fresh handle on the same store.
#[test]
fn sums_are_found_again() {
    let trees = trees();
    set(&trees, &[("agent-", 10_000)], 0);
    step(&trees, "agent-1", 1, 5000).unwrap();
    let fresh = Trees::new(trees.store.clone(), trees.domain);
    assert_eq!(used(&fresh, "agent-"), used(&trees, "agent-"));
    block_on(trees.rename_branch("agent-1", "other")).unwrap();
    assert_eq!(used(&trees, "agent-"), 0);
    let long = [("x".repeat(255), 1)];
    let refused = block_on(trees.set_quotas(&long, |_| Ok(vec![0])));
    assert!(matches!(refused, Err(Error::Invalid { .. })));
}
