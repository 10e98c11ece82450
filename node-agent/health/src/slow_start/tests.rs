use super::*;

use proptest::prelude::*;

fn at(milliseconds: u64) -> Moment {
    Moment::from_milliseconds(milliseconds)
}

fn ramp(weight: u32, came_up: impl Into<Option<u64>>) -> Ramp {
    Ramp {
        weight,
        came_up: came_up.into().map(at),
    }
}

fn weights(seconds: u64, now: u64, destinations: &[Ramp]) -> (Vec<u32>, Option<u64>) {
    let duration = Duration::from_secs(seconds);
    let Weights { weights, next } = SlowStart { duration }.weights(at(now), destinations);
    (weights, next.map(Moment::milliseconds))
}

#[test]
fn a_weight_of_one_ramps_because_all_are_scaled() {
    let service = [ramp(1, None), ramp(2, None), ramp(1, 1_000)];
    let table: &[(u64, &[u32], Option<u64>)] = &[
        (1_000, &[16, 32, 1], Some(3_000)),
        (2_999, &[16, 32, 1], Some(3_000)),
        (3_000, &[16, 32, 2], Some(5_000)),
        (16_000, &[16, 32, 8], Some(17_000)),
        (30_999, &[16, 32, 15], Some(31_000)),
        (31_000, &[1, 2, 1], None),
    ];
    for (now, expected, next) in table {
        assert_eq!(weights(30, *now, &service), (expected.to_vec(), *next), "at {now}");
    }
}

/// What it shows, seconds, destinations, their weights at 0, the next step.
type Shape<'a> = (&'a str, u64, &'a [Ramp], &'a [u32], Option<u64>);

#[test]
fn shapes() {
    let table: &[Shape<'_>] = &[
        ("no duration, no ramp", 0, &[ramp(5, 0)], &[5], None),
        (
            "a second is half, then all",
            1,
            &[ramp(1, 0), ramp(1, None)],
            &[1, 2],
            Some(1_000),
        ),
        (
            "three seconds are three steps",
            3,
            &[ramp(1, 0), ramp(1, None)],
            &[1, 4],
            Some(1_000),
        ),
        (
            "a quiescent one stays at 0",
            30,
            &[ramp(0, 0), ramp(3, None)],
            &[0, 3],
            None,
        ),
        ("nothing there", 30, &[], &[], None),
        (
            "the greatest weight is not scaled",
            30,
            &[ramp(65_535, None), ramp(65_535, 0)],
            &[65_535, 4_096],
            Some(2_000),
        ),
        (
            "a great weight leaves room for some",
            30,
            &[ramp(20_000, None), ramp(1, 0)],
            &[60_000, 1],
            Some(2_000),
        ),
        (
            "two ramps, the nearer step",
            15,
            &[ramp(1, 0), ramp(1, 0)],
            &[1, 1],
            Some(1_000),
        ),
    ];
    for (name, seconds, destinations, expected, next) in table {
        assert_eq!(weights(*seconds, 0, destinations), (expected.to_vec(), *next), "{name}");
    }
}

#[test]
fn a_ramp_of_another_clock_is_over() {
    assert_eq!(weights(30, 1_000, &[ramp(4, 1_001)]), (vec![4], None));
}

fn service() -> impl Strategy<Value = Vec<Ramp>> {
    let weight = prop_oneof![0..10_u32, 0..=65_535_u32];
    let one = (weight, prop::option::of(0..60_000_u64)).prop_map(|(weight, came_up)| ramp(weight, came_up));
    prop::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn weights_fit_the_kernel_and_none_is_lost(destinations in service(), duration in 0..100_000_u64, now in 0..200_000_u64) {
        let slow_start = SlowStart { duration: Duration::from_millis(duration) };
        let result = slow_start.weights(at(now), &destinations);
        prop_assert_eq!(result.weights.len(), destinations.len());
        for (weight, ramp) in result.weights.iter().zip(&destinations) {
            prop_assert!(*weight <= GREATEST_WEIGHT);
            prop_assert_eq!(*weight == 0, ramp.weight == 0);
        }
        if result.next.is_none() {
            let finals: Vec<_> = destinations.iter().map(|ramp| ramp.weight).collect();
            prop_assert_eq!(result.weights, finals);
        }
    }

    #[test]
    fn steady_ones_keep_their_shares(destinations in service(), duration in 1..100_000_u64, now in 0..200_000_u64) {
        let slow_start = SlowStart { duration: Duration::from_millis(duration) };
        let result = slow_start.weights(at(now), &destinations);
        let steady: Vec<_> = destinations.iter().zip(&result.weights).filter(|(ramp, _)| ramp.came_up.is_none()).collect();
        for (a, scaled_a) in &steady {
            for (b, scaled_b) in &steady {
                prop_assert_eq!(u64::from(a.weight) * u64::from(**scaled_b), u64::from(b.weight) * u64::from(**scaled_a));
            }
        }
    }

    /// Between two moments that are said to be steps, nothing moves; a ramp rises; steps are few, and end in time.
    #[test]
    fn a_ramp_is_a_few_rising_steps(weight in 1..=65_535_u32, steady in 1..=65_535_u32, duration in 1..100_000_u64) {
        let slow_start = SlowStart { duration: Duration::from_millis(duration) };
        let destinations = [ramp(weight, 7), ramp(steady, None)];
        let (mut now, mut steps, mut last) = (at(7), 0, 0);
        loop {
            let result = slow_start.weights(now, &destinations);
            let Some(next) = result.next else { break };
            prop_assert!(next > now);
            prop_assert!(result.weights[0] >= last);
            let before_next = at(next.milliseconds() - 1);
            prop_assert_eq!(&slow_start.weights(before_next, &destinations), &result);
            (now, steps, last) = (next, steps + 1, result.weights[0]);
            prop_assert!(steps <= MOST_STEPS);
        }
        prop_assert_eq!(now, at(7 + duration));
    }
}
