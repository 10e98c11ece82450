//! A program with fixed arguments: text in, text out, and an end to waiting for it.

use std::io::{self, Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Which of its outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Error,
}

/// Runs it, in the network namespace of this thread. It is killed when it has not ended after `patience`: the caller has
/// other things to see to, and nobody can tell whether it did its work.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is no such program, [`io::ErrorKind::TimedOut`] when it was killed.
pub(super) fn run(command: &mut Command, input: String, patience: Duration) -> io::Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read everything says why itself.
        thread::spawn(move || -> io::Result<()> { stdin.write_all(input.as_bytes()) });
    }
    let (read, outputs) = channel();
    reader(child.stdout.take(), Stream::Out, read.clone());
    reader(child.stderr.take(), Stream::Error, read);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let end = clock() + patience;
    // Both are closed when it ends.
    for _ in [Stream::Out, Stream::Error] {
        match outputs.recv_timeout(end.saturating_duration_since(clock())) {
            Ok((Stream::Out, bytes)) => stdout = bytes,
            Ok((Stream::Error, bytes)) => stderr = bytes,
            Err(_) => {
                let killed = child.kill();
                // Killed it ends soon, or never, when it hangs in the kernel: that is not waited for here.
                thread::spawn(move || child.wait());
                killed?;
                let words = format!("it had not ended after {patience:?}, and was killed");
                return Err(io::Error::new(io::ErrorKind::TimedOut, words));
            }
        }
    }
    Ok(Output {
        status: child.wait()?,
        stdout,
        stderr,
    })
}

fn reader(from: Option<impl Read + Send + 'static>, stream: Stream, to: Sender<(Stream, Vec<u8>)>) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could not be read is missing in the text, and the status says the rest.
        let _: Option<io::Result<usize>> = from.map(|mut from| from.read_to_end(&mut bytes));
        to.send((stream, bytes))
    });
}

#[expect(clippy::disallowed_methods, reason = "patience has an end")]
fn clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn much_goes_in_and_comes_out() {
        let input = "0123456789".repeat(100_000);
        let output = run(&mut Command::new("cat"), input.clone(), LONG).unwrap();
        assert!(output.status.success() && output.stdout == input.as_bytes());
    }

    #[test]
    fn one_that_reads_nothing_and_complains_is_heard() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no >&2; exit 3"]);
        let output = run(&mut command, "0123456789".repeat(100_000), LONG).unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(3), &b"no\n"[..])
        );
    }

    #[test]
    fn one_that_hangs_is_not_waited_for() {
        let begin = clock();
        let error = run(
            Command::new("sleep").arg("60"),
            String::new(),
            Duration::from_millis(50),
        )
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() < LONG);
        assert!(error.to_string().starts_with("it had not ended after 50ms"));
    }

    #[test]
    fn one_that_is_not_there_is_told_apart() {
        let error = run(&mut Command::new("no-such-program"), String::new(), LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
