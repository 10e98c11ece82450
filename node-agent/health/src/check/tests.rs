//! What happens when, as traces: each line is an attempt or a transition.

use super::*;

use std::fmt::Write;

use expect_test::{Expect, expect};

mod evidence;

/// How a target answers an attempt that begins at a moment.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Passes after so many milliseconds.
    Pass(u64),
    /// Fails after so many milliseconds.
    Fail(u64),
    /// Nothing comes.
    Silence,
}

fn at(seconds: u64) -> Moment {
    Moment::from_milliseconds(seconds * 1000)
}

/// Drives a check to `end`, never late, and tells what it did. The last attempt may be left running.
fn drive(check: &mut Check, from: Moment, end: Moment, answer: impl Fn(Moment) -> Answer) -> String {
    let (mut log, mut now) = (String::new(), from);
    loop {
        now = now.max(check.next());
        if now >= end {
            return log;
        }
        let attempt = check.begin(now).unwrap();
        let milliseconds = |moment: Moment| moment.milliseconds();
        let gap = if log.is_empty() || log.ends_with('\n') { "" } else { " " };
        write!(log, "{gap}{}", milliseconds(now)).unwrap();
        let (after, outcome) = match answer(now) {
            Answer::Pass(after) => (after, Some(Outcome::Passed)),
            Answer::Fail(after) => (after, Some(Outcome::Failed("refused".to_owned()))),
            Answer::Silence => (0, None),
        };
        let transition = match outcome {
            Some(outcome) => {
                now = now.after(Duration::from_millis(after));
                check.conclude(now, attempt, outcome)
            }
            None => {
                now = check.next();
                check.overrun(now)
            }
        };
        if let Some(Transition { from, to, at, words }) = transition {
            assert_eq!(
                (to, at, words.as_str()),
                (check.verdict(), check.since(), check.words())
            );
            writeln!(log, "\n{} {from:?} → {to:?}: {words}", milliseconds(at)).unwrap();
        }
    }
}

#[track_caller]
fn trace(pace: Pace, end: u64, answer: impl Fn(Moment) -> Answer, expected: Expect) {
    let mut check = Check::new(at(100), Phase::of(7), pace);
    expected.assert_eq(&drive(&mut check, at(100), at(end), answer));
}

fn pace(initial: Verdict) -> Pace {
    Pace {
        initial,
        ..Pace::default()
    }
}

#[test]
fn a_new_target_is_up_after_its_first_answer() {
    trace(
        pace(Verdict::Down),
        130,
        |_| Answer::Pass(3),
        expect![[r#"
            100389
            100392 Down → Up: passed, 1 of 1
            103898 113898 123898"#]],
    );
}

#[test]
fn a_new_target_shows_its_rise_at_the_retry_interval() {
    let slow = Pace {
        rise: 3,
        ..Pace::default()
    };
    trace(
        slow,
        130,
        |_| Answer::Pass(3),
        expect![[r#"
            100389 103392 103898
            103901 Down → Up: passed, 3 of 3
            113898 123898"#]],
    );
}

#[test]
fn a_new_target_that_fails_waits_for_the_interval() {
    let answer = |now| {
        if now < at(105) {
            Answer::Fail(1)
        } else {
            Answer::Pass(1)
        }
    };
    trace(
        pace(Verdict::Down),
        130,
        answer,
        expect![[r#"
            100389 103898 113898
            113899 Down → Up: passed, 1 of 1
            123898"#]],
    );
}

#[test]
fn retries_are_attempts_after_the_first_failure() {
    let answer = |now| {
        if now < at(120) {
            Answer::Pass(1)
        } else {
            Answer::Fail(1)
        }
    };
    trace(
        pace(Verdict::Up),
        160,
        answer,
        expect![[r#"
            103898 113898 123898 126899 129900 132901
            132902 Up → Down: refused, 4 of 4
            133898 143898 153898"#]],
    );
}

#[test]
fn silence_is_failure_when_the_timeout_passes() {
    trace(
        pace(Verdict::Up),
        160,
        |_| Answer::Silence,
        expect![[r#"
            103898 111898 119898 127898
            132898 Up → Down: no answer within 5 s, 4 of 4
            133898 143898 153898"#]],
    );
}

#[test]
fn without_retries_the_first_failure_is_down() {
    let none = Pace {
        retries: 0,
        ..pace(Verdict::Up)
    };
    trace(
        none,
        120,
        |_| Answer::Fail(1),
        expect![[r#"
            103898
            103899 Up → Down: refused, 1 of 1
            113898"#]],
    );
}

#[test]
fn one_success_during_retries_clears_the_count() {
    let answer = |now: Moment| {
        if now.milliseconds() / 1000 == 112 {
            Answer::Pass(1)
        } else {
            Answer::Fail(1)
        }
    };
    trace(
        pace(Verdict::Up),
        140,
        answer,
        expect![[r#"
            103898 106899 109900 112901 113898 116899 119900 122901
            122902 Up → Down: refused, 4 of 4
            123898 133898"#]],
    );
}

#[test]
fn a_target_that_flaps_stays_away_longer_each_time() {
    let quick = Pace {
        retries: 0,
        ..pace(Verdict::Up)
    };
    // As bad as can be: it answers while it is Down, and fails as soon as it is Up.
    let mut check = Check::new(at(0), Phase::of(7), quick);
    let mut away = Vec::new();
    for _ in 0..8 {
        while check.verdict() == Verdict::Up {
            let now = check.next();
            let attempt = check.begin(now).unwrap();
            check.conclude(now, attempt, Outcome::Failed("refused".to_owned()));
        }
        let down = check.since();
        while check.verdict() == Verdict::Down {
            let now = check.next();
            let attempt = check.begin(now).unwrap();
            check.conclude(now, attempt, Outcome::Passed);
        }
        away.push(check.since().since(down).as_secs());
    }
    assert_eq!(away, [10, 20, 30, 40, 50, 60, 60, 60]);
}

#[test]
fn a_slow_answer_does_not_make_the_schedule_drift() {
    trace(
        pace(Verdict::Up),
        150,
        |_| Answer::Pass(4900),
        expect!["103898 113898 123898 133898 143898"],
    );
}

#[test]
fn an_answer_slower_than_the_interval_skips_what_was_missed() {
    let fast = Pace {
        interval: Duration::from_secs(1),
        ..pace(Verdict::Up)
    };
    trace(
        fast,
        115,
        |_| Answer::Pass(2500),
        expect!["100389 103389 106389 109389 112389"],
    );
}

#[test]
fn an_attempt_begins_once_and_only_when_due() {
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Up));
    let due = check.next();
    assert_eq!(check.begin(Moment::from_milliseconds(due.milliseconds() - 1)), None);
    assert!(check.begin(due).is_some());
    assert_eq!(check.begin(due), None);
    assert_eq!(check.next(), due.after(Pace::default().timeout));
    let early = Moment::from_milliseconds(check.next().milliseconds() - 1);
    assert_eq!(check.overrun(early), None);
}

#[test]
fn a_result_that_is_not_awaited_any_more_changes_nothing() {
    let failed = || Outcome::Failed("refused".to_owned());
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Up));
    let overrun = check.begin(check.next()).unwrap();
    let now = check.next();
    assert_eq!(check.overrun(now), None);

    // Counted as overrun, and nothing runs.
    let before = check.clone();
    assert_eq!(check.conclude(now, overrun, Outcome::Passed), None);
    assert_eq!(check, before);

    // Counted as overrun, and the next runs.
    let now = check.next();
    let former = check.begin(now).unwrap();
    let before = check.clone();
    assert_eq!(check.conclude(now, overrun, failed()), None);
    assert_eq!(check, before);

    // Of a former pace.
    check.reconfigure(
        now,
        Pace {
            rise: 2,
            ..pace(Verdict::Up)
        },
    );
    assert_eq!(check.next(), now, "it is made again");
    check.begin(now).unwrap();
    let before = check.clone();
    assert_eq!(check.conclude(now, former, failed()), None);
    assert_eq!(check, before);
}

#[test]
fn a_late_result_counts_while_its_overrun_does_not() {
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Down));
    let attempt = check.begin(check.next()).unwrap();
    assert!(check.conclude(at(200), attempt, Outcome::Passed).is_some());
}

#[test]
fn another_pace_keeps_the_verdict_and_puts_nothing_off() {
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Up));
    let due = check.next();
    let slower = Pace {
        interval: Duration::from_secs(3600),
        ..Pace::default()
    };
    check.reconfigure(at(101), slower);
    assert_eq!((check.verdict(), check.next()), (Verdict::Up, due));
    let faster = Pace {
        interval: Duration::from_secs(1),
        ..Pace::default()
    };
    check.reconfigure(at(101), faster);
    assert_eq!(check.verdict(), Verdict::Up);
    assert!(check.next() <= at(102));
}

#[test]
fn the_initial_state_says_nothing_about_a_target_that_has_one() {
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Up));
    let attempt = check.begin(check.next()).unwrap();
    let now = check.next();
    check.reconfigure(now, pace(Verdict::Down));
    assert_eq!(check.verdict(), Verdict::Up);
    // The attempt goes on.
    check.conclude(now, attempt, Outcome::Passed);
    assert_eq!(check.words(), "passed, 1 of 1");
}

#[test]
fn after_a_restart_the_last_verdict_stands() {
    for (initial, answer) in [(Verdict::Up, Answer::Fail(1)), (Verdict::Down, Answer::Pass(1))] {
        let mut check = Check::new(at(100), Phase::of(7), pace(initial));
        drive(&mut check, at(100), at(160), |_| answer);
        assert_ne!(check.verdict(), initial);
        let kept = serde_json::to_string(&check.remember()).unwrap();
        let again = Check::restored(
            at(161),
            Phase::of(7),
            pace(initial),
            serde_json::from_str(&kept).unwrap(),
        );
        assert_eq!(again.remember(), check.remember());
        // At its own place, so that a restart is no burst of probes.
        assert_eq!(again.next(), Phase::of(7).next(at(161), Pace::default().interval));
    }
}

#[test]
fn what_is_remembered_has_this_form() {
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Up));
    drive(&mut check, at(100), at(160), |_| Answer::Fail(1));
    expect![[r#"
        {
          "verdict": "Down",
          "since": 112902,
          "words": "refused, 4 of 4",
          "tested": true,
          "damping": {
            "extra": 0,
            "calm_since": 112902,
            "fell": true,
            "recovered": null
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&check.remember()).unwrap());
}

#[test]
fn words_of_a_target_follow_what_is_known() {
    let mut check = Check::new(at(100), Phase::of(7), Pace::default());
    assert_eq!(check.words(), "not probed yet");
    drive(&mut check, at(100), at(102), |_| Answer::Fail(1));
    assert_eq!(check.words(), "refused");

    // A failure that was no verdict does not stay the last word.
    let mut check = Check::new(at(100), Phase::of(7), pace(Verdict::Up));
    drive(&mut check, at(100), at(105), |_| Answer::Fail(1));
    assert_eq!(check.words(), "not probed yet");
    drive(&mut check, at(105), at(110), |_| Answer::Pass(1));
    assert_eq!(check.words(), "passed, 1 of 1");
}

#[test]
fn spans_have_units() {
    assert_eq!(words_of(Duration::from_secs(5)), "5 s");
    assert_eq!(words_of(Duration::from_millis(1500)), "1500 ms");
}
