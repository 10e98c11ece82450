//! The lab's own echo, and many endpoints at once: where the processor is emulated, a process costs 50 ms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Answers, FORMAT, PATIENCE_SECONDS, READY};
use crate::clock;
use crate::endpoint::{Endpoint, Transport};
use crate::guest_process::GuestProcess;
use crate::program::Program;
use crate::topology::Host;

/// On this port TCP is the echo's; on others it is nginx's.
pub const ECHO: u16 = 7;

/// Starts the echo; it answers its host's name, and the client's address as it sees it, on these endpoints. Their
/// addresses may come later.
///
/// # Errors
/// When it does not start.
pub fn echo(host: &Host, endpoints: &[Endpoint]) -> Result<GuestProcess> {
    let fixed = ["/lab/lab-echo", "serve", &host.name].map(str::to_owned);
    let words = fixed.into_iter().chain(endpoints.iter().map(Endpoint::to_string));
    let process = host.start(Program::new(words), "echo", false)?;
    process.wait_for("lab-echo: ready", READY)?;
    Ok(process)
}

/// Asks each endpoint a number of times, each time by a new connection, and all endpoints at once: HTTP by curl, the
/// others by the echo's client.
///
/// # Errors
/// When a client cannot run, or says nothing of an endpoint.
pub fn ask(client: &Host, wanted: &[(Endpoint, u32)]) -> Result<BTreeMap<Endpoint, Answers>> {
    asked(client, &[None], wanted)
}

/// As `ask`, from each of several addresses of the client.
///
/// # Errors
/// When a client cannot run, or says nothing of an endpoint.
pub fn ask_from(client: &Host, sources: &[String], wanted: &[(Endpoint, u32)]) -> Result<BTreeMap<Endpoint, Answers>> {
    let sources: Vec<_> = sources.iter().map(|source| Some(source.as_str())).collect();
    asked(client, &sources, wanted)
}

fn asked(client: &Host, sources: &[Option<&str>], wanted: &[(Endpoint, u32)]) -> Result<BTreeMap<Endpoint, Answers>> {
    let of_nginx =
        |(endpoint, _): &&(Endpoint, u32)| endpoint.transport == Transport::Tcp && endpoint.at.port() != ECHO;
    let (http, others): (Vec<_>, Vec<_>) = wanted.iter().partition(of_nginx);
    // A file for each process: curl says its lines in pieces, which would tear those of others.
    let mut script = "d=$(mktemp -d)\n".to_owned();
    let mut add = |line: String| script.push_str(&line);
    for (of, source) in sources.iter().enumerate() {
        for (at, (endpoint, number)) in http.iter().enumerate() {
            add(curl(*source, endpoint, *number) + &format!(" 2> $d/{of}-{at} &\n"));
        }
        if !others.is_empty() {
            let words = others
                .iter()
                .map(|(endpoint, number)| format!(" '{endpoint}={number}'"));
            let from = source.map(|source| format!(" --from {source}")).unwrap_or_default();
            add(format!(
                "/lab/lab-echo ask{from}{} > $d/{of}-echo 2>&1 &\n",
                words.collect::<String>()
            ));
        }
    }
    add("wait; cat $d/*; rm -r $d".to_owned());
    let most = wanted.iter().map(|(_, number)| *number).max().unwrap_or_default();
    let limit = Duration::from_secs(30 + u64::from(most * PATIENCE_SECONDS));
    let said = client.program(Program::shell(&script).timeout(limit))?.stdout;
    let answers = Answers::parse_by_endpoint(&said);
    for (endpoint, number) in wanted {
        let (got, all) = (
            answers.get(endpoint).map_or(0, Answers::total),
            *number as usize * sources.len(),
        );
        ensure!(got == all, "{got} of {all} requests to {endpoint} ended:\n{said}");
    }
    Ok(answers)
}

fn curl(source: Option<&str>, endpoint: &Endpoint, number: u32) -> String {
    let format = FORMAT.replace("= ", &format!("{endpoint} = "));
    let from = source
        .map(|source| format!(" --interface {source}"))
        .unwrap_or_default();
    let fixed = format!("curl --silent --output /dev/null --max-time {PATIENCE_SECONDS} -H 'Connection: close'");
    format!(
        "{fixed}{from} --write-out '{format}' 'http://{}/?[1-{number}]'",
        endpoint.at
    )
}

/// Connections that are kept, and used all the time; they end when this is dropped.
#[derive(Debug)]
pub struct Held {
    process: GuestProcess,
    number: u32,
}

impl Held {
    /// Opens a number of them to the echo behind an endpoint, one after the other.
    ///
    /// # Errors
    /// When one is not answered.
    pub fn open(client: &Host, endpoint: &Endpoint, number: u32) -> Result<(Self, Answers)> {
        Self::open_from(client, None, endpoint, number)
    }

    /// As [`Held::open`], from one of the client's addresses.
    ///
    /// # Errors
    /// When one is not answered.
    pub fn open_from(client: &Host, source: Option<&str>, endpoint: &Endpoint, number: u32) -> Result<(Self, Answers)> {
        let from = source.map(|source| format!("--from {source} ")).unwrap_or_default();
        let line = format!("/lab/lab-echo hold {from}{endpoint}={number}");
        let process = client.start(Program::line(&line), &format!("hold-{}", endpoint.at.ip()), false)?;
        process.wait_for("holding", READY)?;
        let answers = Answers::parse_by_endpoint(&process.output()?).remove(endpoint);
        Ok((Self { process, number }, answers.context("no connection")?))
    }

    /// Those that were lost until now, a line each.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn lost(&self) -> Result<Vec<String>> {
        let said = self.process.output()?;
        let lost = said.lines().filter(|line| line.starts_with("lost "));
        Ok(lost.map(str::to_owned).collect())
    }

    /// How long the slowest answer to any of them took until now.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn slowest(&self) -> Result<Duration> {
        let kept = self.kept()?;
        let slowest = kept.into_iter().map(|(_, milliseconds)| milliseconds).max();
        Ok(Duration::from_millis(slowest.unwrap_or_default()))
    }

    /// Waits until each of them was answered once more; those that were lost are the error.
    ///
    /// # Errors
    /// When one is not answered in time.
    pub fn all_answer(&self, limit: Duration) -> Result<Duration> {
        let begin = self.kept()?.len();
        let (lost, took) = clock::until("each connection is answered", limit, || {
            let lost = self.lost()?;
            let kept = self.kept()?.into_iter().skip(begin);
            let numbers: BTreeSet<u32> = kept.map(|(number, _)| number).collect();
            let decided = !lost.is_empty() || numbers.len() == self.number as usize;
            Ok(decided.then_some(lost))
        })?;
        ensure!(lost.is_empty(), "{lost:#?}");
        Ok(took)
    }

    /// Each answer: of which connection, after how many milliseconds.
    fn kept(&self) -> Result<Vec<(u32, u64)>> {
        let said = self.process.output()?;
        let answer = |line: &str| {
            let (number, milliseconds) = line.strip_prefix("kept ")?.split_once(' ')?;
            Some((number.parse().ok()?, milliseconds.parse().ok()?))
        };
        Ok(said.lines().filter_map(answer).collect())
    }
}

/// Requests of one connection all the time, ten in a second, whether they are answered or not; they end when this is
/// dropped.
#[derive(Debug)]
pub struct Stream(GuestProcess);

impl Stream {
    /// Begins.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(client: &Host, endpoint: &Endpoint) -> Result<Self> {
        let line = format!("/lab/lab-echo stream {endpoint}");
        let log = format!("stream-{}", endpoint.at.ip());
        Ok(Self(client.start(Program::line(&line), &log, true)?))
    }

    /// Who answered each request until now, and when, by the guest's clock; nobody is `None`.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn answers(&self) -> Result<Vec<(Duration, Option<String>)>> {
        let said = self.0.output()?;
        let answer = |line: &str| {
            let (clock, server) = line.split_once(' ')?;
            let server = (server != "-").then(|| server.to_owned());
            Some((Duration::from_millis(clock.parse().ok()?), server))
        };
        Ok(said.lines().filter_map(answer).collect())
    }

    /// Waits until somebody answers that pleases; says how long that took.
    ///
    /// # Errors
    /// When nobody does in time.
    pub fn answered(&self, limit: Duration, pleases: impl Fn(&str) -> bool) -> Result<(String, Duration)> {
        let begin = self.answers()?.len();
        clock::until("an answer", limit, || {
            let answers = self.answers()?;
            let mut new = answers.into_iter().skip(begin).filter_map(|(_, server)| server);
            Ok(new.find(|server| pleases(server)))
        })
    }
}
