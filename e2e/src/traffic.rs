//! Real servers and real clients: nginx and curl, socat for UDP; the lab's own echo for SCTP, and for much at once.

mod echo;

pub use echo::{ECHO, Held, Stream, ask, ask_from, echo};

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::endpoint::Endpoint;
use crate::guest_process::GuestProcess;
use crate::process::Signal;
use crate::program::Program;
use crate::topology::Host;

/// How long a client waits for one answer: longer than any repair should take.
const PATIENCE_SECONDS: u32 = 6;
const READY: Duration = Duration::from_secs(20);

/// The size of `/long` on every nginx, which takes ten seconds.
pub const LONG_BYTES: usize = 10 * LONG_RATE;
const LONG_RATE: usize = 8192;

/// Starts nginx on a real server; it answers its host's name to every request, on these ports.
///
/// # Errors
/// When it does not start.
pub fn nginx(host: &Host, ports: &[u16]) -> Result<GuestProcess> {
    let name = &host.name;
    let folder = format!("/run/nginx-{name}");
    let listen: String = ports
        .iter()
        .map(|port| format!("listen {port}; listen [::]:{port};\n"))
        .collect();
    let long = vec![b'x'; LONG_BYTES];
    host.guest().write(&format!("{folder}/long"), 0o644, &long)?;
    let http = format!(
        "keepalive_timeout 0; default_type text/plain;
            add_header X-Server {name}; add_header X-Client $remote_addr;
            server {{
                {listen} location / {{ return 200 \"{name}\\n\"; }}
                location /long {{ root {folder}; limit_rate {LONG_RATE}; }}
            }}"
    );
    nginx_with(host, &folder, &http)
}

/// Starts an nginx with these words in its `http` block, and with all of its files in this folder.
///
/// # Errors
/// When it does not start.
pub fn nginx_with(host: &Host, folder: &str, http: &str) -> Result<GuestProcess> {
    let configuration = format!(
        "worker_processes 1; pid {folder}/pid; error_log stderr notice;
        events {{ worker_connections 512; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            {http}
        }}"
    );
    let file = format!("{folder}/nginx.conf");
    host.guest().write(&file, 0o644, configuration.as_bytes())?;
    let words = ["nginx", "-p", folder, "-c", &file, "-g", "daemon off;"];
    let process = host.start(Program::new(words), "nginx", false)?;
    process.wait_for("start worker process ", READY)?;
    Ok(process)
}

/// What a number of requests came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How often each server answered.
    pub by_server: BTreeMap<String, usize>,
    /// Who answered, in the order of the answers.
    pub order: Vec<String>,
    /// Who answered, by the client's address as the server saw it.
    pub by_client: BTreeMap<String, Vec<String>>,
    /// The requests without an answer.
    pub failed: Vec<Failure>,
    /// The slowest answer, in milliseconds.
    pub slowest_milliseconds: u64,
}

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it was given up, by the guest's clock; zero where nobody looked at the clock.
    pub clock_milliseconds: u64,
    /// How long it was waited for.
    pub waited_milliseconds: u64,
    /// What curl said.
    pub reason: String,
}

impl Answers {
    /// How many requests there were.
    #[must_use]
    pub fn total(&self) -> usize {
        self.by_server.values().sum::<usize>() + self.failed.len()
    }

    /// How many of them a server answered.
    #[must_use]
    pub fn of(&self, server: &str) -> usize {
        self.by_server.get(server).copied().unwrap_or_default()
    }

    /// That every request was answered.
    ///
    /// # Errors
    /// When one was not, or there was none at all.
    pub fn expect_all(&self) -> Result<()> {
        if self.failed.is_empty() && self.total() > 0 {
            return Ok(());
        }
        anyhow::bail!("requests failed: {self}")
    }

    /// From the lines that `FORMAT` makes; `stamped` ones begin with the clock.
    fn parse(text: &str, stamped: bool) -> Self {
        let mut answers = Self::default();
        for line in text.lines() {
            let (clock, line) = match stamped.then(|| line.split_once(' ')).flatten() {
                Some((clock, rest)) => (clock.parse().unwrap_or_default(), rest),
                None => (0, line),
            };
            // Without its end it is of a client that was ended while it wrote: nobody knows what came of it.
            if let Some(line) = line.strip_prefix("= ").and_then(|line| line.strip_suffix(END)) {
                answers.add(clock, line);
            }
        }
        answers
    }

    /// By what stands before the `=` of each line.
    fn parse_by_endpoint(text: &str) -> BTreeMap<Endpoint, Self> {
        let mut all: BTreeMap<Endpoint, Self> = BTreeMap::new();
        let whole = text.lines().filter_map(|line| line.strip_suffix(END));
        for (endpoint, line) in whole.filter_map(|line| line.split_once(" = ")) {
            if let Ok(endpoint) = endpoint.parse() {
                all.entry(endpoint).or_default().add(0, line);
            }
        }
        all
    }

    /// Status, server, what it saw, seconds, error.
    fn add(&mut self, clock: u64, line: &str) {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (status, server, seen, time, error) = (word(), word(), word(), word(), word());
        if status == "200" {
            *self.by_server.entry(server.to_owned()).or_default() += 1;
            self.order.push(server.to_owned());
            self.by_client
                .entry(seen.to_owned())
                .or_default()
                .push(server.to_owned());
            self.slowest_milliseconds = self.slowest_milliseconds.max(milliseconds(time));
        } else {
            let reason = format!("{error} (status {status}, after {time} s)");
            self.failed.push(Failure {
                clock_milliseconds: clock,
                waited_milliseconds: milliseconds(time),
                reason,
            });
        }
    }
}

/// `0.012345` seconds.
fn milliseconds(seconds: &str) -> u64 {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let part = format!("{part:0<3}");
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    number(whole) * 1000 + number(part.get(..3).unwrap_or_default())
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self
            .by_server
            .iter()
            .map(|(server, number)| format!("{server} {number}"))
            .collect();
        let slowest = self.slowest_milliseconds;
        write!(
            f,
            "{}; {} failed; slowest {slowest} ms",
            servers.join(", "),
            self.failed.len()
        )?;
        let failures = self.failed.iter().take(10);
        failures
            .into_iter()
            .try_for_each(|failure| write!(f, "\n  at {} ms: {}", failure.clock_milliseconds, failure.reason))
    }
}

/// One line for each request on standard error, which curl does not buffer. The name of an
/// empty header is nothing, so a failed request still has all its columns.
const FORMAT: &str = "%{stderr}= %{http_code} %header{x-server} %header{x-client} %{time_total} %{errormsg} |\\n";
/// How a line ends that was written whole.
pub const END: &str = " |";

fn curl(url: &str, more: &[&str]) -> Program {
    let patience = PATIENCE_SECONDS.to_string();
    // No keep-alive: a new connection for each, which is what the scheduler sees.
    let fixed = [
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--max-time",
        &patience,
        "-H",
        "Connection: close",
        "--write-out",
        FORMAT,
    ];
    Program::new(fixed.into_iter().chain(more.iter().copied()).chain([url]))
}

/// Makes a number of requests, one after the other, each by a new connection.
///
/// # Errors
/// When curl cannot run.
pub fn requests(client: &Host, url: &str, number: u32) -> Result<Answers> {
    let limit = Duration::from_secs(30) + Duration::from_secs((number * PATIENCE_SECONDS).into());
    let program = curl(&format!("{url}/?[1-{number}]"), &[]).timeout(limit);
    // curl ends with the error of its last request; the lines tell more.
    Ok(Answers::parse(&client.attempt(program)?.stderr, false))
}

/// As `requests`, all from one port. The server closes first, which leaves the client free to use its port again.
///
/// # Errors
/// When curl cannot run.
pub fn requests_from_port(client: &Host, port: u16, url: &str, number: u32) -> Result<Answers> {
    let limit = Duration::from_secs(30) + Duration::from_secs((number * PATIENCE_SECONDS).into());
    let port = port.to_string();
    let more = ["--local-port", &port, "--ignore-content-length", "--rate", "4/s"];
    let program = curl(&format!("{url}/?[1-{number}]"), &more).timeout(limit);
    Ok(Answers::parse(&client.attempt(program)?.stderr, false))
}

/// A client that makes requests all the time; it ends when dropped.
#[derive(Debug)]
pub struct RunningClient {
    process: GuestProcess,
}

impl RunningClient {
    /// Starts it with about so many requests a second, each by a new connection.
    ///
    /// # Errors
    /// When curl cannot start.
    pub fn start(client: &Host, url: &str, per_second: u32) -> Result<Self> {
        let rate = format!("{per_second}/s");
        let program = curl(&format!("{url}/?[1-1000000]"), &["--rate", &rate]);
        // Each with a log of its own: several run at once.
        let log = url.replace(|other: char| !other.is_ascii_alphanumeric(), "-");
        let process = client.start(program, &format!("curl-{log}"), true)?;
        process
            .wait_for("= ", READY)
            .context("the running client made no request")?;
        Ok(Self { process })
    }

    /// What came of all requests until now.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn answers(&self) -> Result<Answers> {
        Ok(Answers::parse(&self.process.output()?, true))
    }

    /// Ends it, and returns what came of all requests.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn stop(self) -> Result<Answers> {
        self.process.stop(Signal::Terminate)?;
        self.answers()
    }
}

/// Starts a UDP server that answers its host's name *from* `address`: a reply from another one
/// than the client asked would be nobody's. The address may come later.
///
/// # Errors
/// When socat does not start.
pub fn udp_server(host: &Host, address: &str, port: u16) -> Result<GuestProcess> {
    let listen = format!("UDP4-RECVFROM:{port},bind={address},ip-freebind,fork");
    let answer = format!("SYSTEM:echo {}", host.name);
    // A datagram ends at once; what the shell answers may take longer than socat's half second.
    let process = host.start(
        Program::new(["socat", "-d", "-d", "-t", "30", &listen, &answer]),
        "udp",
        false,
    )?;
    process
        .wait_for("receiving on", READY)
        .or_else(|_| process.wait_for("socat", READY))?;
    Ok(process)
}

/// Makes a number of UDP requests at once, each from a port of its own.
///
/// # Errors
/// When bash cannot run.
pub fn udp_requests(client: &Host, address: &str, port: u16, number: u32) -> Result<Answers> {
    // All at once, each with one read of one datagram: socat would wait for more to the end of its timeout.
    let script = format!(
        "for i in $(seq {number}); do
            (exec 3<>/dev/udp/{address}/{port}; echo request >&3
            r=$(timeout 15 dd bs=1500 count=1 status=none <&3) && [ -n \"$r\" ] \\
                && echo \"= 200 $r  0 {END}\" || echo '= 000   0 no answer{END}') &
        done; wait"
    );
    let limit = Duration::from_secs(30 + 3 * u64::from(number));
    let output = client.program(Program::new(["bash", "-c", &script]).timeout(limit))?;
    Ok(Answers::parse(&output.stdout, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_curl() {
        let text = "1234 = 200 rs1 192.0.2.1 0.012345  |\n\
            1334 = 000   6.001000 Connection timed out after 6001 milliseconds |\n\
            1434 = 200 rs2 192.0.2.1 1.5  |\n\
            1534 = 2";
        let answers = Answers::parse(text, true);
        assert_eq!((answers.of("rs1"), answers.of("rs2"), answers.total()), (1, 1, 3));
        assert_eq!(answers.slowest_milliseconds, 1500);
        assert_eq!(answers.failed[0].clock_milliseconds, 1334);
        assert!(answers.failed[0].reason.starts_with("Connection timed out"));
        assert!(answers.expect_all().is_err());
        assert_eq!((answers.order.len(), answers.by_client.len()), (2, 1));
    }

    #[test]
    fn lines_of_many_endpoints() {
        let text = "TCP:[fd56::100]:80 = 200 rs1 fd56::200 0.1  |\nnoise\nUDP:192.0.2.9:53 = 000   4.0 timed out |\n\
            TCP:[fd56::100]:80 = 200 rs2 fd56::200 0.1  |\nTCP:[fd56::100]:80 = 20";
        let all = Answers::parse_by_endpoint(text);
        assert_eq!(all[&"TCP:[fd56::100]:80".parse().expect("tcp")].order, ["rs1", "rs2"]);
        assert_eq!(all[&"UDP:192.0.2.9:53".parse().expect("udp")].failed.len(), 1);
    }
}
