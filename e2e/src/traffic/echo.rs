//! The lab's own echo, and many endpoints at once: where the processor is emulated, a process costs 50 ms.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Answers, FORMAT, PATIENCE_SECONDS, READY};
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
pub struct Held(GuestProcess);

impl Held {
    /// Opens a number of them to the echo behind an endpoint, one after the other.
    ///
    /// # Errors
    /// When one is not answered.
    pub fn open(client: &Host, endpoint: &Endpoint, number: u32) -> Result<(Self, Answers)> {
        let line = format!("/lab/lab-echo hold {endpoint}={number}");
        let process = client.start(Program::line(&line), "hold", false)?;
        process.wait_for("holding", READY)?;
        let answers = Answers::parse_by_endpoint(&process.output()?).remove(endpoint);
        Ok((Self(process), answers.context("no connection")?))
    }

    /// Those that were lost until now, a line each.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn lost(&self) -> Result<Vec<String>> {
        let said = self.0.output()?;
        let lost = said.lines().filter(|line| line.starts_with("lost "));
        Ok(lost.map(str::to_owned).collect())
    }
}
