//! A program to run in the guest, and what came of it.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::protocol::{Launch, Mount};

/// A program to run in the guest.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) launch: Launch,
    pub(crate) input: Vec<u8>,
    pub(crate) timeout: Duration,
}

impl Program {
    /// From its words.
    pub fn new<W: Into<String>>(argv: impl IntoIterator<Item = W>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        let launch = Launch {
            argv,
            ..Launch::default()
        };
        Self {
            launch,
            input: Vec::new(),
            timeout: Duration::from_secs(60),
        }
    }

    /// From a line of words between blanks; no quotes.
    #[must_use]
    pub fn line(line: &str) -> Self {
        Self::new(line.split_whitespace())
    }

    /// From a shell script.
    #[must_use]
    pub fn shell(script: &str) -> Self {
        Self::new(["sh", "-c", script])
    }

    /// With standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.launch.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// In a network namespace.
    #[must_use]
    pub fn netns(mut self, name: &str) -> Self {
        self.launch.netns = Some(name.to_owned());
        self
    }

    /// In a mount namespace of its own, with these changes.
    #[must_use]
    pub fn mounts(mut self, mounts: Vec<Mount>) -> Self {
        self.launch.mounts = mounts;
        self
    }

    /// Killed after this time; 60 s when not said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// What came of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code, or 128 + signal.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it ran, by the guest's clock.
    pub took: Duration,
    /// When it ended: the guest's clock, since its boot.
    pub clock: Duration,
}

impl Output {
    /// The output of a program that must succeed.
    ///
    /// # Errors
    /// When it did not.
    pub fn success(self, program: &Program) -> Result<Self> {
        if self.status == 0 {
            return Ok(self);
        }
        let place = program.launch.netns.as_deref().unwrap_or("the guest");
        let said = format!("{}{}", self.stdout, self.stderr);
        bail!(
            "in {place}: `{}` ended with {}: {said}",
            program.launch.argv.join(" "),
            self.status
        )
    }
}
