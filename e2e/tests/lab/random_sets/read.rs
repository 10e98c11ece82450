//! What the nodes have, as ipvsadm and ip print it, in the form in which it is expected.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::Host;
use e2e::{oracle, parallel};

use super::rendered::MARK_OF_OURS;

const MARK: &str = "=====";

/// By node: services with their destinations, addresses, timeouts.
pub(crate) type Read = BTreeMap<String, Vec<String>>;

/// Reads all nodes, all at once. Marks that manifests do not name are lvs-operator's own.
pub(crate) fn all(scene: &Scene, nodes: &[&str], marks: &BTreeSet<i64>) -> Result<Read> {
    let hosts = nodes.iter().map(|name| scene.host(name)).collect::<Result<Vec<_>>>()?;
    let read = parallel::each(&hosts, |host| Ok((host.name.clone(), one(host, marks)?)))?;
    Ok(read.into_iter().collect())
}

fn one(host: &Host, marks: &BTreeSet<i64>) -> Result<Vec<String>> {
    let addresses = "ip -o address";
    let script = match host.name.starts_with("dir") {
        true => format!(
            "ipvsadm -Sn && echo {MARK} && ipvsadm -Ln --thresholds && echo {MARK} && ipvsadm -Ln --timeout && \
             echo {MARK} && {addresses}"
        ),
        false => format!("echo {MARK} && echo {MARK} && echo {MARK} && {addresses}"),
    };
    let text = host.program(Program::shell(&script))?.stdout;
    let mut parts = text.split(MARK);
    let mut part = || parts.next().context("not four parts");
    let (saved, limits, timeouts, addresses) = (part()?, part()?, part()?, part()?);
    let mut read = blocks(saved, &thresholds(limits)?, marks)?;
    if let Some((_, seconds)) = timeouts.trim().split_once("Timeout (tcp tcpfin udp): ") {
        read.push(format!("timeouts {seconds}"));
    }
    read.extend(held(addresses));
    read.sort();
    Ok(read)
}

/// The text behind `-x` and `-y`, by service and destination as `ipvsadm -Sn` names them: there, they are left out.
fn thresholds(text: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut service = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["IP", ..] | ["Prot", ..] | ["->", "RemoteAddress:Port", ..] => {}
            ["TCP", name, ..] => service = format!("-t {name}"),
            ["UDP", name, ..] => service = format!("-u {name}"),
            ["SCTP", name, ..] => service = format!("--sctp-service {name}"),
            ["FWM", mark, "IPv6", ..] => service = format!("-f {mark} -6"),
            ["FWM", mark, ..] => service = format!("-f {mark}"),
            ["->", destination, upper, lower, ..] => {
                let limit = |option: &str, value: &str| match value {
                    "0" => String::new(),
                    _ => format!(" {option} {value}"),
                };
                let limits = limit("-x", upper) + &limit("-y", lower);
                all.insert(format!("{service} -r {destination}"), limits);
            }
            _ => anyhow::bail!("not a line of thresholds: {line}"),
        }
    }
    Ok(all)
}

/// Services with their destinations, in alphabetical order, because the kernel's is no promise.
fn blocks(text: &str, thresholds: &BTreeMap<String, String>, marks: &BTreeSet<i64>) -> Result<Vec<String>> {
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.filter(|line| !oracle::is_for_probes(line)) {
        if line.starts_with("-A ") {
            blocks.push((nameless(line, marks), Vec::new()));
            continue;
        }
        let name = line
            .strip_prefix("-a ")
            .context("neither a service nor a destination")?;
        let end = name.find(" -r ").context("no destination")? + " -r ".len();
        let end = name[end..].find(' ').map_or(name.len(), |length| end + length);
        let limits = thresholds
            .get(&name[..end])
            .with_context(|| format!("no thresholds of {name}"))?;
        let (_, destinations) = blocks.last_mut().context("a destination without a service")?;
        destinations.push(nameless(line, marks) + limits);
    }
    let whole = blocks.into_iter().map(|(service, mut destinations)| {
        destinations.sort();
        [vec![service], destinations].concat().join("\n")
    });
    Ok(whole.collect())
}

/// A line with a mark that manifests do not name, without it.
fn nameless(line: &str, marks: &BTreeSet<i64>) -> String {
    let mut words: Vec<_> = line.split(' ').collect();
    if let ["-A" | "-a", "-f", mark, ..] = &mut words[..] {
        let number = mark.parse::<i64>().map(|number| number.rem_euclid(1 << 32));
        if number.is_ok_and(|number| !marks.contains(&number)) {
            *mark = MARK_OF_OURS;
        }
    }
    words.join(" ")
}

/// Single addresses, by where they are: on the link, on `lo`, or on any other device, which is a tunnel's.
fn held(text: &str) -> BTreeSet<String> {
    let address = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, device, _, address, ..] = words[..] else {
            return None;
        };
        let address = address.strip_suffix("/32").or_else(|| address.strip_suffix("/128"))?;
        let device = match device {
            "eth0" | "lo" => device,
            _ => "tunnel",
        };
        (address != "::1").then(|| format!("{device} {address}"))
    };
    text.lines().filter_map(address).collect()
}
