//! Who writes to the kernel? Netlink as an nlmon device shows it, captured by tcpdump.
//!
//! IPVS tells nobody about changes, so the messages that ask for them are counted instead. The
//! device sees its own network namespace only, which is one node.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::capture::{Capture, NLMON};
use crate::topology::Host;

const NETLINK_ROUTE: u16 = 0;
const NETLINK_NETFILTER: u16 = 12;
const NETLINK_GENERIC: u16 = 16;
const REQUEST: u16 = 1;
/// The group of nf_tables among the messages of netfilter.
const NFTABLES: u16 = 10;
const PCAP_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// The link-layer header of a captured netlink packet; its last two bytes name the protocol.
const COOKED_HEADER: usize = 16;
const MESSAGE_HEADER: usize = 16;

/// Starts to record the netlink messages of a host.
///
/// # Errors
/// When tcpdump does not start.
pub fn start(host: &Host) -> Result<NetlinkCapture<'_>> {
    let family = family_of_ipvs(host)?;
    Ok(NetlinkCapture {
        family,
        capture: Capture::start(host, NLMON, "")?,
    })
}

fn family_of_ipvs(host: &Host) -> Result<u16> {
    let text = host.run("genl ctrl get name IPVS")?;
    let hex = text.split("ID:").nth(1).and_then(|rest| rest.split_whitespace().next());
    let hex = hex
        .and_then(|word| word.strip_prefix("0x"))
        .context("genl names no id")?;
    u16::from_str_radix(hex, 16).context("an id of genl")
}

/// A running record.
#[derive(Debug)]
pub struct NetlinkCapture<'a> {
    family: u16,
    capture: Capture<'a>,
}

impl NetlinkCapture<'_> {
    /// Ends it, and counts the messages that asked the kernel for a change.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn stop(self) -> Result<Writes> {
        Ok(self.stop_with_times()?.iter().collect())
    }

    /// Ends it, and lists the messages that asked the kernel for a change, in order.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn stop_with_times(self) -> Result<Vec<Write>> {
        parse(&self.capture.stop()?.bytes()?, self.family)
    }

    /// Ends it, and returns the messages to and from IPVS, in order.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn messages(self) -> Result<Vec<IpvsMessage>> {
        let pcap = self.capture.stop()?.bytes()?;
        let all = messages(&pcap)?.into_iter();
        let ipvs = all.filter(|m| m.protocol == NETLINK_GENERIC && m.kind == self.family);
        let whole = ipvs.map(|message| IpvsMessage {
            is_request: message.flags & REQUEST != 0,
            bytes: message.bytes.to_vec(),
        });
        Ok(whole.collect())
    }
}

/// A captured message to or from IPVS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpvsMessage {
    /// Whether it was sent to the kernel; else the kernel's answer.
    pub is_request: bool,
    /// All of it, from the netlink header on.
    pub bytes: Vec<u8>,
}

impl IpvsMessage {
    /// The command of its generic header.
    #[must_use]
    pub fn command(&self) -> Option<u8> {
        self.bytes.get(MESSAGE_HEADER).copied()
    }
}

/// One message that asked the kernel for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// When, by the guest's clock: comparable between hosts.
    pub at: Duration,
    /// What, like `ipvs NEW_DEST`.
    pub name: String,
}

/// How often each kind of write was asked for, like `ipvs NEW_DEST` or `route NEWADDR`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes(pub BTreeMap<String, usize>);

impl<'a> FromIterator<&'a Write> for Writes {
    fn from_iter<I: IntoIterator<Item = &'a Write>>(all: I) -> Self {
        let mut writes = Self::default();
        for write in all {
            *writes.0.entry(write.name.clone()).or_default() += 1;
        }
        writes
    }
}

impl Writes {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Those whose name begins so: `ipvs`, `ipvs NEW_`, `route`, `nft`.
    #[must_use]
    pub fn of(&self, begin: &str) -> usize {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with(begin))
            .map(|(_, number)| number)
            .sum()
    }
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self
            .0
            .iter()
            .map(|(name, number)| format!("{name} × {number}"))
            .collect();
        f.write_str(if all.is_empty() { "no writes" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// A message as it stands in a capture.
struct Message<'a> {
    at: Duration,
    protocol: u16,
    kind: u16,
    flags: u16,
    bytes: &'a [u8],
}

fn parse(pcap: &[u8], family: u16) -> Result<Vec<Write>> {
    let all = messages(pcap)?;
    let writes = all
        .iter()
        .filter(|message| message.flags & REQUEST != 0)
        .filter_map(|message| {
            let body = message.bytes.get(MESSAGE_HEADER..).unwrap_or_default();
            let name = write_name(message.protocol, message.kind, body, family)?;
            Some(Write { at: message.at, name })
        });
    Ok(writes.collect())
}

fn messages(pcap: &[u8]) -> Result<Vec<Message<'_>>> {
    if pcap.get(..4) != Some(&[0xd4, 0xc3, 0xb2, 0xa1]) {
        bail!("not a capture in this machine's byte order");
    }
    let mut found = Vec::new();
    let mut rest = pcap.get(PCAP_HEADER..).unwrap_or_default();
    while let Some(length) = u32_at(rest, 8) {
        let end = RECORD_HEADER + usize::try_from(length)?;
        // The last record of a capture that was cut short.
        let Some(packet) = rest.get(RECORD_HEADER..end) else {
            break;
        };
        let protocol = packet.get(14..16).map(|b| u16::from_be_bytes([b[0], b[1]]));
        let messages = packet.get(COOKED_HEADER..).unwrap_or_default();
        let (whole, part) = u32_at(rest, 0).zip(u32_at(rest, 4)).unwrap_or_default();
        let at = Duration::from_secs(whole.into()) + Duration::from_micros(part.into());
        packed(at, protocol.unwrap_or(u16::MAX), messages, &mut found)?;
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(found)
}

/// Several messages may travel in one packet.
fn packed<'a>(at: Duration, protocol: u16, mut rest: &'a [u8], found: &mut Vec<Message<'a>>) -> Result<()> {
    while let (Some(length), Some(kind), Some(flags)) = (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6)) {
        let length = usize::try_from(length)?.max(MESSAGE_HEADER);
        found.push(Message {
            at,
            protocol,
            kind,
            flags,
            bytes: rest.get(..length.min(rest.len())).unwrap_or_default(),
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

fn write_name(protocol: u16, kind: u16, body: &[u8], family: u16) -> Option<String> {
    match protocol {
        NETLINK_GENERIC if kind == family => {
            let name = match body.first()? {
                1 => "NEW_SERVICE",
                2 => "SET_SERVICE",
                3 => "DEL_SERVICE",
                5 => "NEW_DEST",
                6 => "SET_DEST",
                7 => "DEL_DEST",
                9 => "NEW_DAEMON",
                10 => "DEL_DAEMON",
                12 => "SET_CONFIG",
                16 => "ZERO",
                17 => "FLUSH",
                _ => return None,
            };
            Some(format!("ipvs {name}"))
        }
        NETLINK_ROUTE => {
            let object = match kind.checked_sub(16)? / 4 {
                0 => "LINK",
                1 => "ADDR",
                2 => "ROUTE",
                3 => "NEIGH",
                4 => "RULE",
                _ => return None,
            };
            let verb = ["NEW", "DEL", "GET", "SET"][usize::from(kind % 4)];
            (verb != "GET").then(|| format!("route {verb}{object}"))
        }
        NETLINK_NETFILTER if kind >> 8 == NFTABLES => {
            // table, chain, rule, set, element, object and flow table; 1 of 3 or 4 asks only.
            let asks = matches!(kind & 0xff, 1 | 4 | 7 | 10 | 13 | 16 | 19 | 21 | 23 | 25);
            (!asks).then(|| match kind & 0xff {
                12 => "nft NEWSETELEM".to_owned(),
                14 => "nft DELSETELEM".to_owned(),
                other => format!("nft {other}"),
            })
        }
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)
        .map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(MESSAGE_HEADER + body.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes
    }

    fn record(protocol: u16, messages: &[u8]) -> Vec<u8> {
        let length = u32::try_from(COOKED_HEADER + messages.len())
            .expect("short")
            .to_ne_bytes();
        let mut bytes = [&[0; 8][..], &length, &length, &[0; 14]].concat();
        bytes.extend(protocol.to_be_bytes());
        bytes.extend(messages);
        bytes
    }

    #[test]
    fn only_requests_for_a_change_count() {
        let mut pcap = vec![0xd4, 0xc3, 0xb2, 0xa1];
        pcap.extend([0; 20]);
        let two = [message(33, REQUEST, &[5, 1, 0, 0]), message(33, REQUEST, &[6, 1, 0, 0])];
        pcap.extend(record(NETLINK_GENERIC, &two.concat()));
        pcap.extend(record(NETLINK_GENERIC, &message(33, REQUEST, &[4, 1, 0, 0])));
        pcap.extend(record(NETLINK_GENERIC, &message(16, REQUEST, &[3, 1, 0, 0])));
        pcap.extend(record(NETLINK_ROUTE, &message(20, REQUEST, &[0; 8])));
        pcap.extend(record(NETLINK_ROUTE, &message(20, 0, &[0; 8])));
        pcap.extend(record(NETLINK_ROUTE, &message(22, REQUEST, &[0; 8])));
        let writes: Writes = parse(&pcap, 33).expect("a capture").iter().collect();
        assert_eq!(
            writes.to_string(),
            "ipvs NEW_DEST × 1, ipvs SET_DEST × 1, route NEWADDR × 1"
        );
        assert_eq!((writes.total(), writes.of("ipvs")), (3, 2));
    }
}
