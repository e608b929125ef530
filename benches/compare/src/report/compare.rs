//! Ratios between rows of one run.
//!
//! Invariant: only rows of one workload, case, class and quantity meet.

use super::row::{Role, Row};

/// How many times `one` is better than `other`, by medians.
pub fn times_better(one: &Row, other: &Row) -> Option<f64> {
    let (mine, its) = (one.figures()?.median, other.figures()?.median);
    let ratio = if one.unit?.more_is_better() {
        mine / its
    } else {
        its / mine
    };
    ratio.is_finite().then_some(ratio)
}

/// Fills in the ratios of all rows.
pub fn fill_in(rows: &mut [Row]) {
    let others = rows.to_vec();
    for row in rows {
        if row.figures().is_none() {
            continue;
        }
        let this = row.clone();
        let comparable = |role: Role| {
            let same = others
                .iter()
                .filter(|other| other.figures().is_some() && this.is_comparable(other));
            same.filter(move |other| other.role == role)
        };
        if row.role != Role::Ceiling {
            let peers = comparable(Role::Peer).filter(|other| other.subject != this.subject);
            if let Some(best) = peers.reduce(better) {
                row.times_best_peer = times_better(&this, best);
                row.best_peer = Some(best.subject.clone());
            }
            if let Some(lowest) = comparable(Role::Ceiling).reduce(worse) {
                row.of_ceiling = times_better(&this, lowest);
                row.ceiling = Some(lowest.subject.clone());
            }
        }
    }
}

fn better<'a>(one: &'a Row, other: &'a Row) -> &'a Row {
    if times_better(one, other).is_some_and(|ratio| ratio >= 1.0) {
        one
    } else {
        other
    }
}

/// Of several ceilings the lowest counts.
fn worse<'a>(one: &'a Row, other: &'a Row) -> &'a Row {
    if times_better(one, other).is_some_and(|ratio| ratio < 1.0) {
        one
    } else {
        other
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::Class;
    use crate::measure::figures::{Figures, Unit};
    use crate::report::row::Result;

    /// A row with one sample.
    pub fn row(subject: &str, role: Role, class: Class, unit: Unit, value: u64) -> Row {
        let mut samples = crate::report_lines::histogram();
        samples.record(value).expect("in range");
        Row {
            workload: "steps".to_owned(),
            case: "case".to_owned(),
            class,
            quantity: "quantity".to_owned(),
            unit: Some(unit),
            subject: subject.to_owned(),
            role,
            note: String::new(),
            result: Result::Measured(Figures::of(unit, &[samples])),
            times_best_peer: None,
            best_peer: None,
            of_ceiling: None,
            ceiling: None,
        }
    }

    /// Goal: nothing is compared across classes, and the best peer and the lowest ceiling are found. Method: times of two
    /// classes, with a faster peer in the other one.
    #[test]
    fn ratios_are_to_the_best_peer_and_the_lowest_ceiling_of_the_same_class() {
        let time = |subject, role, class, value| row(subject, role, class, Unit::Nanoseconds, value);
        let mut rows = [
            time("helios", Role::Helios, Class::Durable, 100),
            time("slow", Role::Peer, Class::Durable, 400),
            time("fast", Role::Peer, Class::Durable, 200),
            time("other class", Role::Peer, Class::Visible, 10),
            time("device", Role::Ceiling, Class::Durable, 80),
            time("memory", Role::Ceiling, Class::Durable, 8),
        ];
        fill_in(&mut rows);
        assert_eq!(
            (rows[0].times_best_peer, rows[0].best_peer.as_deref()),
            (Some(2.0), Some("fast"))
        );
        assert_eq!(
            (rows[0].of_ceiling, rows[0].ceiling.as_deref()),
            (Some(0.8), Some("device"))
        );
        assert_eq!(rows[1].times_best_peer, Some(0.5));
        assert_eq!(rows[2].best_peer.as_deref(), Some("slow"));
        assert_eq!((rows[3].times_best_peer, rows[3].of_ceiling), (None, None));
        assert_eq!(rows[4].of_ceiling, None);
    }

    /// Goal: of rates the higher one is better. Method: as above with rates.
    #[test]
    fn of_rates_the_higher_is_better() {
        let rate = |subject, role, value| row(subject, role, Class::Read, Unit::PerSecond, value);
        let mut rows = [
            rate("helios", Role::Helios, 100),
            rate("slow", Role::Peer, 50),
            rate("fast", Role::Peer, 200),
            rate("device", Role::Ceiling, 1000),
            rate("processor", Role::Ceiling, 500),
        ];
        fill_in(&mut rows);
        assert_eq!(
            (rows[0].times_best_peer, rows[0].of_ceiling),
            (Some(0.5), Some(0.2))
        );
        assert_eq!(rows[0].ceiling.as_deref(), Some("processor"));
    }
}
