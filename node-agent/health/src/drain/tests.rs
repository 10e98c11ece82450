use super::*;

use proptest::prelude::*;

fn at(milliseconds: u64) -> Moment {
    Moment::from_milliseconds(milliseconds)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn decisions() {
    let wait = |until| Decision::Wait { until: at(until) };
    let drain = Drain::new(at(5_000), seconds(60));
    let table = [
        (
            "connections are counted again in a second",
            drain,
            5_000,
            Some(3),
            wait(6_000),
        ),
        ("later less often", drain, 35_000, Some(3), wait(38_000)),
        (
            "the deadline is not slept through",
            drain,
            64_500,
            Some(3),
            wait(65_000),
        ),
        ("no connection is left", drain, 5_000, Some(0), Decision::Done),
        ("unknown is not zero", drain, 20_000, None, wait(21_500)),
        ("the deadline passes", drain, 65_000, Some(3), Decision::Cut),
        (
            "the deadline passes, unknown how many are left",
            drain,
            65_000,
            None,
            Decision::Cut,
        ),
        ("nothing left at the deadline", drain, 65_000, Some(0), Decision::Done),
        (
            "zero cuts at once",
            Drain::new(at(5_000), seconds(0)),
            5_000,
            Some(3),
            Decision::Cut,
        ),
        (
            "shortened: counted from the beginning",
            drain.with_timeout(seconds(10)),
            15_000,
            Some(3),
            Decision::Cut,
        ),
        (
            "lengthened",
            drain.with_timeout(seconds(600)),
            65_000,
            Some(3),
            wait(71_000),
        ),
        ("a clock that is another boot's", drain, 4_999, Some(3), Decision::Cut),
    ];
    for (name, drain, now, connections, decision) in table {
        assert_eq!(drain.decide(at(now), connections), decision, "{name}");
    }
}

#[test]
fn a_drain_goes_to_disk_and_back() {
    let drain = Drain::new(at(5_000), seconds(60));
    let text = serde_json::to_string(&drain).unwrap();
    expect_test::expect![[r#"{"since":5000,"timeout_milliseconds":60000}"#]].assert_eq(&text);
    assert_eq!(serde_json::from_str::<Drain>(&text).unwrap(), drain);
}

#[derive(Clone, Debug)]
enum Event {
    Connections(Option<u64>),
    Late(u64),
    Timeout(u64),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop::option::of(1..5_u64).prop_map(Event::Connections),
        1 => (0..30_000_u64).prop_map(Event::Late),
        1 => (0..200_000_u64).prop_map(Event::Timeout),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    /// Whatever happens, a caller that comes when it was told to finds the drain over at its deadline.
    #[test]
    fn a_drain_always_ends(since in 0..1_000_000_u64, timeout in 0..200_000_u64, events in prop::collection::vec(event(), 0..300)) {
        let mut drain = Drain::new(at(since), Duration::from_millis(timeout));
        let (mut now, mut longest, mut connections) = (at(since), timeout, Some(1));
        // When the events are used up, the last count stands for ever.
        for event in events.into_iter().map(Some).chain(std::iter::repeat(None)) {
            match event {
                None => {}
                Some(Event::Connections(left)) => connections = left,
                Some(Event::Late(late)) => now = now.after(Duration::from_millis(late)),
                Some(Event::Timeout(timeout)) => {
                    drain = drain.with_timeout(Duration::from_millis(timeout));
                    longest = longest.max(timeout);
                }
                Some(Event::Restart) => drain = serde_json::from_str(&serde_json::to_string(&drain).unwrap()).unwrap(),
            }
            prop_assert_eq!(drain.since(), at(since));
            match drain.decide(now, connections) {
                Decision::Wait { until } => {
                    prop_assert!(now < drain.deadline(), "waits past the deadline");
                    prop_assert!(until > now && until <= drain.deadline());
                    now = until;
                }
                Decision::Cut => {
                    prop_assert!(now >= drain.deadline(), "cut before the deadline");
                    break;
                }
                Decision::Done => prop_assert!(false, "connections were left"),
            }
        }
        prop_assert!(drain.deadline() <= at(since + longest));
    }

    #[test]
    fn counting_is_no_load(timeout in 0..3_600_u64) {
        let drain = Drain::new(at(0), seconds(timeout));
        let (mut now, mut polls) = (at(0), 0);
        while let Decision::Wait { until } = drain.decide(now, Some(1)) {
            (now, polls) = (until, polls + 1);
        }
        prop_assert_eq!(now, drain.deadline());
        prop_assert!(polls <= 40 + timeout / 10, "{} polls in {} s", polls, timeout);
    }
}
