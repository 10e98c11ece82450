//! Property tests: whatever comes in whatever order, a verdict turns when the evidence suffices, and not before.

use super::*;
use crate::moment::milliseconds;

use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    /// The next attempt begins, so late, and ends so.
    Attempt {
        late: u64,
        answer: Answer,
    },
    /// A result comes of an attempt that is over already.
    Stale(Outcome),
    Reconfigure(Pace),
    Restart,
    /// Somebody asks too early.
    Nothing(u64),
}

fn pace() -> impl Strategy<Value = Pace> {
    let span = |from: u64, to: u64| (from..to).prop_map(|span: u64| Duration::from_millis(span * 100));
    let initial = prop_oneof![Just(Verdict::Up), Just(Verdict::Down)];
    (span(1, 200), span(1, 100), 0..5_u32, span(0, 100), 0..4_u32, initial).prop_map(
        |(interval, timeout, retries, retry_interval, rise, initial)| Pace {
            interval,
            timeout,
            retries,
            retry_interval,
            rise,
            initial,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![
        4 => (0..10_000_u64).prop_map(Answer::Pass),
        4 => (0..10_000_u64).prop_map(Answer::Fail),
        1 => Just(Answer::Silence),
    ];
    let outcome = prop_oneof![Just(Outcome::Passed), Just(Outcome::Failed("stale".to_owned()))];
    prop_oneof![
        30 => (prop_oneof![4 => Just(0), 1 => 0..60_000_u64], answer).prop_map(|(late, answer)| Event::Attempt { late, answer }),
        3 => outcome.prop_map(Event::Stale),
        1 => pace().prop_map(Event::Reconfigure),
        1 => Just(Event::Restart),
        2 => (0..100_u64).prop_map(Event::Nothing),
    ]
}

/// What the check was told, counted without it: failures and successes in a row.
#[derive(Debug)]
struct World {
    check: Check,
    pace: Pace,
    now: Moment,
    over: Vec<Attempt>,
    failures: u32,
    passes: u32,
    ups: u32,
    downs: u32,
}

impl World {
    fn new(pace: Pace) -> Self {
        let now = at(1);
        Self {
            check: Check::new(now, Phase::of(3), pace),
            pace,
            now,
            over: Vec::new(),
            failures: 0,
            passes: 0,
            ups: 0,
            downs: 0,
        }
    }

    fn happens(&mut self, event: Event) {
        let before = self.check.clone();
        match event {
            Event::Attempt { late, answer } => self.attempt(late, answer),
            Event::Stale(outcome) => {
                if let Some(attempt) = self.over.last() {
                    assert_eq!(self.check.conclude(self.now, *attempt, outcome), None);
                    assert_eq!(self.check, before);
                }
            }
            Event::Reconfigure(pace) => {
                self.check.reconfigure(self.now, pace);
                self.pace = pace;
                assert_eq!(self.check.remember(), before.remember());
                assert!(
                    self.check.next() <= before.next().max(self.now),
                    "an attempt is put off"
                );
            }
            Event::Restart => {
                let kept = serde_json::to_string(&self.check.remember()).unwrap();
                let kept = serde_json::from_str(&kept).unwrap();
                self.check = Check::restored(self.now, Phase::of(3), self.pace, kept);
                self.over.clear();
                (self.failures, self.passes) = (0, 0);
                assert_eq!(self.check.remember(), before.remember());
            }
            Event::Nothing(early) => {
                let early = Moment::from_milliseconds(self.check.next().milliseconds().saturating_sub(early + 1));
                if early >= self.now {
                    assert_eq!((self.check.begin(early), self.check.overrun(early)), (None, None));
                    assert_eq!(self.check, before);
                }
            }
        }
    }

    fn attempt(&mut self, late: u64, answer: Answer) {
        self.now = self.now.max(self.check.next()).after(Duration::from_millis(late));
        let begun = self.now;
        let attempt = self.check.begin(begun).unwrap();
        let deadline = self.check.next();
        assert_eq!(deadline, begun.after(self.pace.timeout));
        let before = self.check.verdict();
        let after = |span| begun.after(Duration::from_millis(span));
        let (passed, transition) = match answer {
            Answer::Pass(span) if after(span) <= deadline => {
                self.now = after(span);
                (true, self.check.conclude(self.now, attempt, Outcome::Passed))
            }
            Answer::Fail(span) if after(span) <= deadline => {
                self.now = after(span);
                let failed = Outcome::Failed("failed".to_owned());
                (false, self.check.conclude(self.now, attempt, failed))
            }
            Answer::Pass(_) | Answer::Fail(_) | Answer::Silence => {
                self.now = deadline;
                (false, self.check.overrun(deadline))
            }
        };
        self.over.push(attempt);
        (self.failures, self.passes) = if passed {
            (0, self.passes + 1)
        } else {
            (self.failures + 1, 0)
        };
        self.judge(before, transition.as_ref());
        assert!(self.check.next() >= self.now, "an attempt is made up for");
        assert!(
            self.check.next() <= self.now.after(self.pace.interval.max(self.pace.retry_interval)),
            "the next attempt is later than an interval"
        );
    }

    /// The verdict turns exactly when the evidence suffices; only damping may ask for more, and only before Up.
    fn judge(&mut self, before: Verdict, transition: Option<&Transition>) {
        let rise = self.pace.rise.max(1);
        match (before, transition) {
            (Verdict::Up, None) => assert!(self.failures <= self.pace.retries, "Down is overdue"),
            (Verdict::Down, None) => assert!(self.passes < rise + 5, "Up is overdue"),
            (_, Some(transition)) => {
                assert_eq!((transition.from, transition.at), (before, self.now));
                assert_eq!(transition.to, self.check.verdict());
                assert_ne!(transition.from, transition.to);
                match transition.to {
                    Verdict::Up => {
                        assert!(self.passes >= rise, "Up without evidence");
                        self.ups += 1;
                    }
                    Verdict::Down => {
                        assert!(self.failures > self.pace.retries, "Down without evidence");
                        self.downs += 1;
                    }
                }
                // Evidence is used up by the verdict that it made.
                (self.failures, self.passes) = (0, 0);
            }
        }
    }
}

proptest! {
    #[test]
    fn never_more_transitions_than_evidence_allows(pace in pace(), events in prop::collection::vec(event(), 0..120)) {
        let mut world = World::new(pace);
        for event in events {
            world.happens(event);
        }
        prop_assert!(world.ups.abs_diff(world.downs) <= 1);
    }

    /// Also of a target that flapped before: damping slows recovery alone.
    #[test]
    fn a_target_that_fails_is_down_within_the_bound(
        pace in pace(), target: u64,
        turns in prop::collection::vec(1..120_000_u64, 0..12),
        speed in 0..10_000_u64, silent: bool,
    ) {
        let turns: Vec<Moment> = turns.iter().scan(0, |sum, span| { *sum += span; Some(Moment::from_milliseconds(*sum)) }).collect();
        let fails = turns.last().copied().unwrap_or_default();
        let speed = speed.min(milliseconds(pace.timeout));
        // An attempt belongs to the time in which it ends: one that runs when the target fails does not pass.
        let answer = |begun: Moment| {
            let ends = begun.after(Duration::from_millis(speed));
            let turned = turns.iter().filter(|turn| **turn <= ends).count();
            match (turned == turns.len() || turned % 2 == 1, silent) {
                (false, _) => Answer::Pass(speed),
                (true, false) => Answer::Fail(speed),
                (true, true) => Answer::Silence,
            }
        };
        let mut check = Check::new(Moment::default(), Phase::of(target), pace);
        drive(&mut check, Moment::default(), fails, answer);
        let bound = fails.after(pace.detection_bound());
        // `drive` may have ended an attempt beyond the moment: it was counted already.
        drive(&mut check, fails, bound.after(Duration::from_millis(1)), answer);
        prop_assert_eq!(check.verdict(), Verdict::Down);
        let of_before = check.since() < fails;
        prop_assert!(of_before || check.since() <= bound, "{:?} > {bound:?}", check.since());
    }

    #[test]
    fn a_target_that_passes_comes_up(pace in pace(), target: u64, failing in 0..600_000_u64, speed in 0..10_000_u64) {
        let passes = Moment::from_milliseconds(failing);
        let speed = speed.min(milliseconds(pace.timeout));
        let answer = |begun: Moment| if begun < passes { Answer::Fail(speed) } else { Answer::Pass(speed) };
        let mut check = Check::new(Moment::default(), Phase::of(target), pace);
        let once = (pace.interval + Duration::from_millis(speed)) * (pace.rise.max(1) + 1);
        let end = passes.after(once + pace.retry_interval + pace.timeout + Duration::from_secs(1));
        drive(&mut check, Moment::default(), end, answer);
        prop_assert_eq!(check.verdict(), Verdict::Up);
    }
}
