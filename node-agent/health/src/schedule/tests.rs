use super::*;

use std::collections::BTreeSet;

use proptest::prelude::*;

const INTERVAL: Duration = Duration::from_secs(10);

/// How many of 10,000 targets fall into each of 100 parts of a span.
fn spread(place: impl Fn(Phase) -> u64, span: u64) -> Vec<u32> {
    let mut parts = vec![0; 100];
    for target in 0..10_000 {
        let part = usize::try_from(place(Phase::of(target)) * 100 / span).unwrap();
        parts[part] += 1;
    }
    parts
}

#[test]
fn ten_thousand_checks_do_not_march_in_step() {
    let now = Moment::from_milliseconds(123_456);
    let regular = |phase: Phase| phase.next(now, INTERVAL).milliseconds() - 123_457;
    let first = |phase: Phase| phase.first(now, INTERVAL).milliseconds() - 123_456;
    for (name, parts) in [("regular", spread(regular, 10_000)), ("first", spread(first, 1_000))] {
        // 100 each, with a standard deviation of 10; a hundred parts are allowed 5 of these.
        assert!(
            parts.iter().all(|count| (50..=150).contains(count)),
            "{name}: {parts:?}"
        );
    }
}

#[test]
fn a_short_interval_has_its_first_attempts_within_it() {
    let interval = Duration::from_millis(200);
    let latest = (0..1000).map(|target| Phase::of(target).first(Moment::default(), interval));
    assert!(latest.max().unwrap().elapsed() < interval);
}

proptest! {
    #[test]
    fn the_grid_is_fixed_and_what_was_missed_is_skipped(target: u64, now in 0..1_000_000_000_u64, interval in 0..100_000_u64) {
        let (phase, now) = (Phase::of(target), Moment::from_milliseconds(now));
        let interval = Duration::from_millis(interval);
        let next = phase.next(now, interval);
        let length = interval.max(Duration::from_millis(1));
        prop_assert!(next > now);
        prop_assert!(next.since(now) <= length);
        prop_assert_eq!(phase.next(next, interval), next.after(length));
        // Where in the step from `now` one asks makes no difference.
        prop_assert_eq!(phase.next(Moment::from_milliseconds(next.milliseconds() - 1), interval), next);
    }

    #[test]
    fn no_number_overflows(target: u64, now: u64, interval: u64) {
        let (now, interval) = (Moment::from_milliseconds(now), Duration::from_millis(interval));
        prop_assert!(Phase::of(target).next(now, interval) >= now || interval.as_millis() > u128::from(u64::MAX) / 2);
        prop_assert!(Phase::of(target).first(now, interval) >= now);
    }
}

#[test]
fn targets_are_told_apart() {
    let phases: BTreeSet<_> = (0..10_000).map(Phase::of).collect();
    assert_eq!(phases.len(), 10_000);
}
