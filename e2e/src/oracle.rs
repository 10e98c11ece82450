//! What the kernel does, as told by other people's tools.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::Program;
use crate::topology::Host;

/// The lines of `ipvsadm -Sn`, which name every service and destination with all options; without those that steer the
/// agent's own probes, which serve nobody: see [`probe_services`].
///
/// # Errors
/// When ipvsadm fails.
pub fn ipvs(host: &Host) -> Result<Vec<String>> {
    let text = host.run("ipvsadm -Sn")?;
    let lines = text.lines().map(str::trim).filter(|line| !is_for_probes(line));
    Ok(lines.map(str::to_owned).collect())
}

/// The lines of `ipvsadm -Sn` that steer the agent's own probes.
///
/// # Errors
/// When ipvsadm fails.
pub fn probe_services(host: &Host) -> Result<Vec<String>> {
    let text = host.run("ipvsadm -Sn")?;
    let lines = text.lines().map(str::trim).filter(|line| is_for_probes(line));
    Ok(lines.map(str::to_owned).collect())
}

/// As the README says.
const PROBE_MARKS: RangeInclusive<u32> = 0x1000_0000..=0x17ff_ffff;

/// Whether a line of `ipvsadm -Sn` is of a service whose mark is of the documented range for probes.
#[must_use]
pub fn is_for_probes(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["-A" | "-a", "-f", mark, ..] => is_probe_mark(mark),
        _ => false,
    }
}

fn is_probe_mark(mark: &str) -> bool {
    mark.parse::<u32>().is_ok_and(|mark| PROBE_MARKS.contains(&mark))
}

/// What people look at: `ipvsadm -Ln`, without what steers the agent's own probes.
///
/// # Errors
/// When ipvsadm fails.
pub fn ipvs_table(host: &Host) -> Result<String> {
    Ok(without_probes(&host.run("ipvsadm -Ln")?))
}

fn without_probes(table: &str) -> String {
    let mut text = String::new();
    let mut hidden = false;
    for line in table.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        hidden = match words[..] {
            ["->", ..] => hidden,
            ["FWM", mark, ..] => is_probe_mark(mark),
            _ => false,
        };
        if !hidden {
            text += line;
            text.push('\n');
        }
    }
    text
}

/// Counters of a service or destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients: with DR and TUN there are none.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// `ipvsadm -Ln --stats --exact`: by `TCP 192.168.56.100:80` for a service, and with
/// ` -> 192.168.56.31:80` added for a destination.
///
/// # Errors
/// When ipvsadm fails, or prints something else.
pub fn counters(host: &Host) -> Result<BTreeMap<String, Counters>> {
    parse_counters(&host.run("ipvsadm -Ln --stats --exact")?)
}

/// `ipvsadm -Ln --stats --exact` of one TCP service, without its destinations: of a long table, that alone.
///
/// # Errors
/// When there is no such service.
pub fn counters_of(host: &Host, service: &str) -> Result<Counters> {
    let all = parse_counters(&host.run(&format!("ipvsadm -Ln --stats --exact -t {service}"))?)?;
    all.get(&format!("TCP {service}")).copied().context("no such service")
}

fn parse_counters(text: &str) -> Result<BTreeMap<String, Counters>> {
    let mut all = BTreeMap::new();
    let mut service = String::new();
    let entries = text.lines().filter(|line| {
        !["IP Virtual", "Prot", "  -> Remote"]
            .iter()
            .any(|head| line.starts_with(head))
    });
    for line in entries {
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, numbers) = words.split_at_checked(2).context("a short line")?;
        let key = if name[0] == "->" {
            format!("{service} -> {}", name[1])
        } else {
            service = name.join(" ");
            service.clone()
        };
        let numbers: Vec<u64> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
        let [connections, packets_in, packets_out, bytes_in, bytes_out] = numbers[..] else {
            bail!("not a line of counters: {line}");
        };
        let counters = Counters {
            connections,
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
        };
        all.insert(key, counters);
    }
    Ok(all)
}

/// A destination as `ipvsadm -Ln` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Its weight.
    pub weight: u64,
    /// ActiveConn: established connections.
    pub active: u64,
    /// InActConn: all others, those that are closing mostly.
    pub inactive: u64,
}

/// `ipvsadm -Ln` of one TCP service: its destinations by address and port.
///
/// # Errors
/// When there is no such service.
pub fn loads(host: &Host, service: &str) -> Result<BTreeMap<String, Load>> {
    parse_loads(&host.run(&format!("ipvsadm -Ln -t {service}"))?)
}

fn parse_loads(text: &str) -> Result<BTreeMap<String, Load>> {
    let lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with("-> ") && !line.contains("RemoteAddress"));
    let load = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, destination, _, weight, active, inactive] = words[..] else {
            bail!("not a destination: {line}");
        };
        let load = Load {
            weight: weight.parse()?,
            active: active.parse()?,
            inactive: inactive.parse()?,
        };
        Ok((destination.to_owned(), load))
    };
    lines.map(load).collect()
}

/// The entries of `ip -j address` for one address: which links have it, with what.
///
/// # Errors
/// When ip fails.
pub fn holders(host: &Host, address: &str) -> Result<Vec<(String, Value)>> {
    let links: Value = serde_json::from_str(&host.run("ip -j address show")?)?;
    let mut found = Vec::new();
    for link in links.as_array().into_iter().flatten() {
        for entry in link["addr_info"].as_array().into_iter().flatten() {
            if entry["local"] == address {
                let name = link["ifname"].as_str().unwrap_or_default().to_owned();
                found.push((name, entry.clone()));
            }
        }
    }
    Ok(found)
}

/// Whether a link of the host has an address.
///
/// # Errors
/// When ip fails.
pub fn has_address(host: &Host, link: &str, address: &str) -> Result<bool> {
    Ok(holders(host, address)?.iter().any(|(name, _)| name == link))
}

/// The value of a sysctl, like `net.ipv4.conf.eth0.arp_ignore`.
///
/// # Errors
/// When there is none of that name.
pub fn sysctl(host: &Host, name: &str) -> Result<String> {
    Ok(host.run(&format!("sysctl -n {name}"))?.trim().to_owned())
}

/// The MAC addresses that answer an ARP request for an address, asked from a host on its LAN.
///
/// # Errors
/// When arping cannot run.
pub fn arp_answers(from: &Host, address: &str) -> Result<BTreeSet<String>> {
    let mut all = neighbour_answers(from, &[address.to_owned()])?;
    Ok(all.remove(address).unwrap_or_default())
}

/// The MAC addresses that answer for each address when a host on its LAN asks for it: by ARP, or by a neighbour
/// solicitation for IPv6. All at once.
///
/// # Errors
/// When arping or ndisc6 cannot run.
pub fn neighbour_answers(from: &Host, addresses: &[String]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let ask = |address: &String| match address.contains(':') {
        // Every answer within a second, not the first alone.
        true => format!("ndisc6 -m -n -r 1 -w 1000 {address} eth0 2>&1 | sed 's/^/{address} /' &\n"),
        false => format!("arping -c 2 -w 3 -I eth0 {address} 2>&1 | sed 's/^/{address} /' &\n"),
    };
    let script: String = addresses.iter().map(ask).collect();
    // Nobody answering is an answer.
    let said = from.program(Program::shell(&format!("{script}wait")))?.stdout;
    for address in addresses {
        let asked = said.lines().any(|line| line.starts_with(&format!("{address} ")));
        anyhow::ensure!(asked, "nothing was said about {address}:\n{said}");
    }
    let mut all: BTreeMap<String, BTreeSet<String>> = addresses
        .iter()
        .map(|address| (address.clone(), BTreeSet::new()))
        .collect();
    for line in said.lines() {
        let Some((address, line)) = line.split_once(' ') else {
            continue;
        };
        if let (Some(macs), Some(mac)) = (all.get_mut(address), answering_mac(line)) {
            macs.insert(mac.to_lowercase());
        }
    }
    Ok(all)
}

/// In a line of arping or of ndisc6.
fn answering_mac(line: &str) -> Option<&str> {
    match line.starts_with("Unicast reply") {
        true => line.split(['[', ']']).nth(1),
        false => Some(line.strip_prefix("Target link-layer address: ")?.trim()),
    }
}

/// When a disturbance was repaired, by the guest's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// Right before the disturbance, since the guest's boot.
    pub begin: Duration,
    /// When it was repaired.
    pub end: Duration,
    /// From right after the disturbance until then.
    pub took: Duration,
}

/// Disturbs a host by one shell command and measures, inside the guest, how long it takes until
/// another one succeeds: a way through the host would cost more than what is measured.
///
/// # Errors
/// When the disturbance fails, or nothing heals it in time.
pub fn healed_after(host: &Host, disturb: &str, healed: &str, limit: Duration) -> Result<Duration> {
    Ok(healing(host, disturb, healed, limit)?.took)
}

/// As [`healed_after`], with the time of the disturbance.
///
/// # Errors
/// When the disturbance fails, or nothing heals it in time.
pub fn healing(host: &Host, disturb: &str, healed: &str, limit: Duration) -> Result<Healing> {
    let script = format!(
        "read first rest < /proc/uptime; {{ {disturb}\n}} >&2 || exit 9; read begin rest < /proc/uptime
        until {{ {healed}\n}} > /dev/null 2>&1; do :; done; read end rest < /proc/uptime
        echo $first $begin $end"
    );
    let output = host.program(Program::shell(&script).timeout(limit))?;
    // Hundredths of a second.
    let time = |word: &str| Some(Duration::from_millis(word.replace('.', "").parse::<u64>().ok()? * 10));
    let times: Vec<Duration> = output.stdout.split_whitespace().filter_map(time).collect();
    let [begin, disturbed, end] = times[..] else {
        bail!("not three times: {}", output.stdout);
    };
    Ok(Healing {
        begin,
        end,
        took: end.saturating_sub(disturbed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_services_and_destinations() {
        let text = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.168.56.100:80                  20      120        0     8000        0
  -> 192.168.56.31:80                   10       60        0     4000        0
";
        let all = parse_counters(text).expect("counters");
        assert_eq!(all["TCP 192.168.56.100:80"].connections, 20);
        assert_eq!(all["TCP 192.168.56.100:80 -> 192.168.56.31:80"].bytes_in, 4000);
    }

    #[test]
    fn what_steers_probes_is_told_by_its_mark() {
        assert!(is_for_probes("-A -f 268435457 -s wlc -o"));
        assert!(is_for_probes("-a -f 402653183 -6 -r [fd56::30]:0 -g -w 1"));
        assert!(
            !is_for_probes("-A -f 10 -s rr") && !is_for_probes("-a -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 1")
        );
        let text = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.56.100:80 rr
  -> 192.168.56.30:80             Route   1      0          0
FWM  268435457 wlc ops
  -> 192.168.56.50:0              Route   1      0          0
FWM  10 rr
  -> 192.168.56.40:0              Route   1      0          0
";
        let shown = without_probes(text);
        assert!(
            !shown.contains("268435457") && !shown.contains("192.168.56.50"),
            "{shown}"
        );
        assert!(shown.contains("192.168.56.30:80") && shown.contains("192.168.56.40:0"));
    }

    #[test]
    fn loads_of_destinations() {
        let text = "\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.56.100:7 wlc
  -> 192.168.56.31:7              Route   3      5          2
";
        let load = Load {
            weight: 3,
            active: 5,
            inactive: 2,
        };
        assert_eq!(
            parse_loads(text).expect("loads"),
            [("192.168.56.31:7".to_owned(), load)].into()
        );
    }

    #[test]
    fn macs_of_arping_and_ndisc6() {
        let arping = "Unicast reply from 192.168.56.100 [02:00:00:38:0A:00]  1.5ms";
        assert_eq!(answering_mac(arping), Some("02:00:00:38:0A:00"));
        let ndisc6 = "Target link-layer address: 02:00:00:38:0A:00";
        assert_eq!(answering_mac(ndisc6), Some("02:00:00:38:0A:00"));
        assert_eq!(answering_mac(" from fd56::100"), None);
    }
}
