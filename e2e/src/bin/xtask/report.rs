//! How many tests ran, and what came of them.

use std::fmt;

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Those that passed.
    pub(crate) passed: u64,
    /// Those that failed, or could not run.
    pub(crate) failed: u64,
    /// Those that were left out.
    pub(crate) ignored: u64,
}

impl Counts {
    /// Adds what a line of output says, when it is libtest's last one.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let Some((_, numbers)) = rest.split_once(". ") else {
            return;
        };
        for part in numbers.split(';') {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                (Some(number), Some("ignored")) => self.ignored += number,
                (_, _) => {}
            }
        }
    }

    /// Whether nothing ran.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

/// What came of a class of tests.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The class.
    pub(crate) class: String,
    /// Its tests.
    pub(crate) counts: Counts,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Why it could not run, when it could not.
    pub(crate) trouble: Option<String>,
}

/// All classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(pub(crate) Vec<Line>);

impl Report {
    /// All tests of all classes.
    pub(crate) fn total(&self) -> Counts {
        self.0
            .iter()
            .map(|line| line.counts)
            .fold(Counts::default(), Counts::and)
    }
}

impl fmt::Display for Report {
    /// The last line is what other programs read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = ("class", "passed", "failed", "ignored", "seconds");
        writeln!(f, "{:<14}{:>8}{:>8}{:>8}{:>9}", row.0, row.1, row.2, row.3, row.4)?;
        for Line {
            class,
            counts,
            seconds,
            trouble,
        } in &self.0
        {
            let Counts {
                passed,
                failed,
                ignored,
            } = counts;
            write!(f, "{class:<14}{passed:>8}{failed:>8}{ignored:>8}{seconds:>9.1}")?;
            match trouble {
                Some(trouble) => writeln!(f, "  {trouble}")?,
                None => writeln!(f)?,
            }
        }
        let Counts {
            passed,
            failed,
            ignored: _,
        } = self.total();
        write!(f, "{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_lines_are_added_up() {
        let mut counts = Counts::default();
        counts.read("running 3 tests");
        counts.read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        counts.read("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; finished");
        assert_eq!(
            counts,
            Counts {
                passed: 4,
                failed: 2,
                ignored: 1
            }
        );
        let line = Line {
            class: "unit".into(),
            counts,
            seconds: 1.0,
            trouble: None,
        };
        let text = Report(vec![line]).to_string();
        assert_eq!(text.lines().last(), Some("4 passed, 2 failed"));
    }
}
