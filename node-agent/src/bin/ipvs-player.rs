//! Plays random operations against the real IPVS of its network namespace and against the fake one, and compares every
//! answer and the table at the end of each sequence.
//!
//! It flushes the table between sequences, so it wants a namespace of its own (`unshare -n`), with `lo` up: a
//! destination is judged by the namespace's addresses, and one without any refuses them all.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use ipvs::operation::{DestinationIdentity, DestinationSettings, ServiceIdentity, ServiceSettings};
use ipvs::uapi::{AF_INET, IPPROTO_TCP, IPVS_CMD_FLUSH};
use ipvs::{Command, Errno, FakeIpvs, Family, IpvsMessage, Operation, Service, Table, random_operations};
use node_agent::kernel::ipvs::IpvsSocket;
use node_agent::kernel::linux::{Linux, LinuxOptions};
use node_agent::kernel::{Kernel, KernelError};

/// Plays random operations against the real IPVS and the fake one.
#[derive(Parser)]
struct Arguments {
    /// The first sequence's seed; the others follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many sequences.
    #[arg(long, default_value_t = 200)]
    sequences: u64,
    /// How many operations each.
    #[arg(long, default_value_t = 20)]
    operations: usize,
    /// Of so many sequences, one table is compared with the text of `ipvsadm -Sn`, too; 0 is none.
    #[arg(long, default_value_t = 0)]
    text_every: u64,
    /// Consent to flushing the IPVS table of this network namespace.
    #[arg(long)]
    throw_away_namespace: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.throw_away_namespace {
        bail!("this flushes IPVS: say --throw-away-namespace where nobody needs it (unshare -n)");
    }
    let mut player = Player::new()?;
    let Arguments {
        seed: first,
        sequences,
        operations,
        text_every,
        throw_away_namespace: _,
    } = arguments;
    let (mut mismatches, mut played, mut refused, mut texts) = (0, 0, 0, 0);
    for seed in (first..).take(usize::try_from(sequences)?) {
        let sequence = random_operations(seed, operations);
        let mut outcome = player.play(&sequence)?;
        if seed.checked_rem(text_every) == Some(0) {
            texts += 1;
            outcome.differences.extend(compare_text(&player.table()?)?);
        }
        played += sequence.len();
        refused += outcome.refused;
        if !outcome.differences.is_empty() {
            mismatches += 1;
            report(seed, &outcome.differences)?;
        }
    }
    player.flush()?;
    let mut out = std::io::stdout();
    writeln!(out, "operations {played} refused {refused}")?;
    writeln!(out, "texts {texts}")?;
    writeln!(out, "sequences {sequences} mismatches {mismatches}")?;
    Ok(ExitCode::from(u8::from(mismatches > 0)))
}

struct Player {
    socket: IpvsSocket,
    linux: Linux,
    /// An empty table with the properties of this kernel.
    fake: FakeIpvs,
}

struct Outcome {
    refused: usize,
    differences: Vec<String>,
}

impl Player {
    fn new() -> anyhow::Result<Self> {
        let mut linux = Linux::open(LinuxOptions {
            proc_sys_net: "/proc/sys/net".into(),
        });
        let (_, facts) = linux.network().context("the network")?;
        let has_ipv4 = facts.foreign_addresses.keys().any(std::net::IpAddr::is_ipv4);
        ensure!(has_ipv4, "this namespace has no IPv4 address: ip link set lo up");
        let services = linux.services().context("the IPVS table")?;
        ensure!(
            services.is_empty(),
            "this namespace has IPVS services already: somebody needs it"
        );
        let mut player = Self {
            socket: IpvsSocket::new(),
            linux,
            fake: FakeIpvs::new(),
        };
        let refused = player.refuses_large_thresholds()?;
        player.fake.refuse_large_thresholds(refused);
        Ok(player)
    }

    fn play(&mut self, sequence: &[Operation]) -> anyhow::Result<Outcome> {
        self.flush()?;
        let mut fake = self.fake.clone();
        let messages: Vec<_> = sequence.iter().map(IpvsMessage::from).collect();
        let answers = self.socket.execute(&messages);
        let mut outcome = Outcome {
            refused: 0,
            differences: Vec::new(),
        };
        for (place, (operation, answer)) in sequence.iter().zip(answers).enumerate() {
            let expected = fake.execute(operation);
            let real = errno(answer).with_context(|| format!("operation {place}: {operation:?}"))?;
            outcome.refused += usize::from(real.is_err());
            let mark = if real == expected { "  " } else { "! " };
            let line = format!(
                "{mark}{place:2} real {} fake {} {operation:?}",
                text(real),
                text(expected)
            );
            outcome.differences.push(line);
        }
        let table = self.table()?;
        let alike = outcome.differences.iter().all(|line| line.starts_with("  "));
        if alike && table == *fake.table() {
            outcome.differences.clear();
        } else {
            let tables = format!("! real table:\n{table}\n! fake table:\n{}", fake.table());
            outcome.differences.push(tables);
        }
        outcome.differences.extend(self.other_looks(&table)?);
        Ok(outcome)
    }

    /// GET_SERVICE of single keys and the count must agree with the dump.
    fn other_looks(&mut self, table: &Table) -> anyhow::Result<Vec<String>> {
        let mut differences = Vec::new();
        for (key, service) in &table.services {
            let found = self.linux.service(*key)?;
            if found.as_ref() != Some(&service.config) {
                differences.push(format!("! GET_SERVICE {key}: {found:?}, dumped {:?}", service.config));
            }
        }
        let count = self.linux.service_count()?;
        let dumped = table.services.keys().filter(|key| key.family() == Family::Ipv4).count();
        if count != dumped {
            differences.push(format!("! counted {count} IPv4 services, dumped {dumped}"));
        }
        Ok(differences)
    }

    fn table(&mut self) -> anyhow::Result<Table> {
        let mut table = Table::default();
        for (key, config) in self.linux.services()? {
            let mut service = Service::new(config);
            service.destinations = self.linux.destinations(key)?;
            table.services.insert(key, service);
        }
        Ok(table)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let flush = IpvsMessage {
            command: Command::Other(IPVS_CMD_FLUSH),
            attributes: Vec::new(),
        };
        self.socket.execute(&[flush]).remove(0).context("FLUSH")
    }

    /// Kernels differ in this alone (7.2: EINVAL, 6.12: taken), so it is asked and not looked up by version.
    fn refuses_large_thresholds(&mut self) -> anyhow::Result<bool> {
        let service = ServiceIdentity {
            family: AF_INET,
            mark: None,
            protocol: IPPROTO_TCP,
            address: [0; 16],
            port: 1,
        };
        let settings = ServiceSettings {
            scheduler: "rr".to_owned(),
            persistence_engine: None,
            flags: 0,
            mask: u32::MAX,
            timeout: 0,
            netmask: [255; 4],
        };
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[10, 0, 0, 2]);
        let destination = DestinationIdentity {
            family: Some(AF_INET),
            address,
            port: 1,
        };
        let large = DestinationSettings {
            method: 0,
            weight: Some(1),
            upper_threshold: 1 << 31,
            lower_threshold: 0,
            tunnel: None,
        };
        let probe = [
            Operation::NewService { service, settings },
            Operation::NewDest {
                service,
                destination,
                settings: large,
            },
        ];
        let answers = self.socket.execute(&probe.each_ref().map(IpvsMessage::from));
        let answers: Vec<_> = answers.into_iter().map(errno).collect::<Result<_, _>>()?;
        self.flush()?;
        match answers.as_slice() {
            [Ok(()), Ok(())] => Ok(false),
            [Ok(()), Err(Errno::EINVAL)] => Ok(true),
            other => bail!("a probe was answered {other:?}"),
        }
    }
}

/// The lines that only one of ipvsadm and our own text has. Their order is left out: where addresses lie all around the
/// number circle, ipvsadm's own depends on that of the kernel's dump.
fn compare_text(table: &Table) -> anyhow::Result<Vec<String>> {
    let output = std::process::Command::new("ipvsadm").arg("-Sn").output()?;
    ensure!(output.status.success(), "ipvsadm -Sn: {}", output.status);
    let theirs = String::from_utf8(output.stdout)?;
    let ours = table.to_string();
    let (mut theirs, mut ours): (Vec<_>, Vec<_>) = (theirs.lines().collect(), ours.lines().collect());
    theirs.sort_unstable();
    ours.sort_unstable();
    let differ = theirs != ours;
    let lines = || {
        format!(
            "! ipvsadm -Sn:\n{}\n! our text:\n{}",
            theirs.join("\n"),
            ours.join("\n")
        )
    };
    Ok(differ.then(lines).into_iter().collect())
}

/// Only refusals can be compared.
fn errno(answer: Result<(), KernelError>) -> Result<Result<(), Errno>, KernelError> {
    match answer {
        Ok(()) => Ok(Ok(())),
        Err(KernelError::Refused { errno }) => Ok(Err(errno)),
        Err(error) => Err(error),
    }
}

fn text(answer: Result<(), Errno>) -> String {
    answer.map_or_else(|errno| errno.to_string(), |()| "ok".to_owned())
}

fn report(seed: u64, differences: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed {seed}:")?;
    differences.iter().try_for_each(|line| writeln!(out, "{line}"))
}
