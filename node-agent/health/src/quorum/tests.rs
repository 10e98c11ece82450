use super::*;

use proptest::prelude::*;

use QuorumState::{Down, Up};

/// The states through a sequence of weights, from the start on.
fn run(minimum_weight: u32, hysteresis: u32, weights: &[u64]) -> Vec<QuorumState> {
    let quorum = Quorum {
        minimum_weight,
        hysteresis,
    };
    let mut state = None;
    weights
        .iter()
        .map(|weight| {
            let next = match state {
                None => quorum.first(*weight),
                Some(state) => quorum.next(state, *weight),
            };
            state = Some(next);
            next
        })
        .collect()
}

/// What it shows, quorum, hysteresis, weights, the states that they give.
type Sequence<'a> = (&'a str, u32, u32, &'a [u64], &'a [QuorumState]);

#[test]
fn as_keepalived() {
    let table: &[Sequence<'_>] = &[
        ("the defaults: one is enough", 1, 0, &[1, 0, 1, 3], &[Up, Down, Up, Up]),
        ("the quorum itself is enough", 3, 0, &[3, 2, 3], &[Up, Down, Up]),
        (
            "lost below 3 - 1, gained at 3 + 1",
            3,
            1,
            &[4, 3, 2, 1, 2, 3, 4, 2],
            &[Up, Up, Up, Down, Down, Down, Up, Up],
        ),
        (
            "the start is a gain: quorum + hysteresis",
            3,
            1,
            &[3, 3, 4],
            &[Down, Down, Up],
        ),
        (
            "nothing left is no quorum, whatever is tolerated",
            2,
            2,
            &[4, 1, 0],
            &[Up, Up, Down],
        ),
        (
            "hysteresis is less than quorum: 9 counts as 1",
            2,
            9,
            &[3, 1, 0, 2, 3],
            &[Up, Up, Down, Down, Up],
        ),
        ("quorum is at least 1", 0, 0, &[0, 1], &[Down, Up]),
        (
            "weights are summed, not heads counted",
            100,
            20,
            &[120, 80, 79, 119, 120],
            &[Up, Up, Down, Down, Up],
        ),
        (
            "what was lost needs more than there is",
            2,
            1,
            &[3, 0, 2, 2],
            &[Up, Down, Down, Down],
        ),
    ];
    for (name, quorum, hysteresis, weights, states) in table {
        assert_eq!(run(*quorum, *hysteresis, weights), *states, "{name}");
    }
}

#[test]
fn real_servers_leave_only_when_there_is_a_sorry_server() {
    let table = [
        (Up, SorryServer::Absent, Serving::RealServers),
        (Up, SorryServer::Ready, Serving::RealServers),
        (Down, SorryServer::Absent, Serving::RealServers),
        (Down, SorryServer::Ready, Serving::SorryServer),
    ];
    for (state, sorry_server, serving) in table {
        assert_eq!(Serving::of(state, sorry_server), serving, "{state:?} {sorry_server:?}");
    }
}

prop_compose! {
    fn quorum()(minimum_weight in prop_oneof![0..10_u32, Just(u32::MAX)], hysteresis in prop_oneof![0..10_u32, Just(u32::MAX)]) -> Quorum {
        Quorum { minimum_weight, hysteresis }
    }
}

fn state() -> impl Strategy<Value = QuorumState> {
    prop_oneof![Just(Up), Just(Down)]
}

proptest! {
    #[test]
    fn nothing_changes_twice_on_one_weight(quorum in quorum(), state in state(), weight in 0..20_u64) {
        let next = quorum.next(state, weight);
        prop_assert_eq!(quorum.next(next, weight), next);
    }

    #[test]
    fn more_weight_is_never_worse_and_none_is_never_enough(quorum in quorum(), state in state(), weight in 0..20_u64, more in 0..20_u64) {
        if quorum.next(state, weight) == Up {
            prop_assert_eq!(quorum.next(state, weight + more), Up);
        }
        prop_assert_eq!(quorum.next(state, 0), Down);
    }

    #[test]
    fn to_lose_it_and_to_gain_it_takes_twice_the_hysteresis(quorum in quorum(), weights in prop::collection::vec(0..30_u64, 1..50)) {
        let hysteresis = u64::from(quorum.hysteresis.min(quorum.minimum_weight.max(1) - 1));
        let (mut state, mut turned) = (quorum.first(weights[0]), None::<u64>);
        for weight in weights {
            let next = quorum.next(state, weight);
            if next != state {
                if let Some(turned) = turned {
                    prop_assert!(weight.abs_diff(turned) > 2 * hysteresis);
                }
                (state, turned) = (next, Some(weight));
            }
        }
    }

    #[test]
    fn without_hysteresis_the_past_makes_no_difference(minimum_weight in 0..10_u32, weight in 0..20_u64) {
        let quorum = Quorum { minimum_weight, hysteresis: 0 };
        prop_assert_eq!(quorum.next(Up, weight), quorum.next(Down, weight));
    }
}
