//! nftables: our table is written and listed by the program `nft`, in one process for a whole transaction; what is asked
//! often (whether anything changed, whether the table is there, other people's base chains) is asked by netlink.
//!
//! Nothing that a person wrote reaches a shell, there is none: the program is started with fixed arguments and reads JSON
//! made of addresses, numbers and checked names of interfaces.

use std::collections::BTreeSet;
use std::io;
use std::process::{Command, Output};
use std::time::Duration;

use ipvs::Errno;
use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::KernelError;
use super::program::run;
use super::socket::{Message, Socket};
use crate::ruleset::{Firewall, Hook, TABLE, Table, Transaction, decode};

// include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFT_MSG_DELTABLE: u16 = 2;
pub(super) const NFT_MSG_NEWCHAIN: u16 = 3;
pub(super) const NFT_MSG_DELCHAIN: u16 = 5;
pub(super) const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_GETGEN: u16 = 16;
/// The table's name, in every message about something of a table.
pub(super) const NFTA_TABLE: u16 = 1;
pub(super) const NFTA_GEN_ID: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
pub(super) const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NF_DROP: u32 = 0;
pub(super) const NFPROTO_INET: u8 = 1;
/// Families whose chains see IP packets of this host.
const FAMILIES: [(u8, &str); 3] = [(NFPROTO_INET, "inet"), (2, "ip"), (10, "ip6")];
/// `struct nfgenmsg`: family, version, resource.
pub(super) const NFGENMSG: usize = 4;

/// Longer than a slow machine takes for the longest listing. Meanwhile the agent does nothing else.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a listing is repeated that somebody changed something under.
const LISTINGS: usize = 3;

const ENOENT: Errno = Errno(libc::ENOENT);
const EINVAL: Errno = Errno(libc::EINVAL);
const EOPNOTSUPP: Errno = Errno(libc::EOPNOTSUPP);

/// nftables of the network namespace.
#[derive(Debug)]
pub(super) struct Nft {
    socket: Socket,
}

impl Nft {
    pub(super) fn new() -> Self {
        Self {
            socket: Socket::new(NETLINK_NETFILTER),
        }
    }

    /// The number of the last transaction of anybody in this namespace: as long as it stays, nothing changed.
    pub(super) fn generation(&mut self) -> Result<u32, KernelError> {
        let replies = match self.socket.ask(&request(NFT_MSG_GETGEN, 0, &[])) {
            // The subsystem is not there, and could not be loaded.
            Err(KernelError::Refused {
                errno: EINVAL | EOPNOTSUPP,
            }) => {
                return Err(KernelError::RulesetUnsupported {
                    message: "it has no nftables".to_owned(),
                    modules: "nf_tables".to_owned(),
                });
            }
            other => other?,
        };
        let reply = replies.first().map(|reply| attributes(&reply.payload));
        let number = reply.and_then(|attributes| number(&attributes, NFTA_GEN_ID));
        number.ok_or_else(|| KernelError::Io("nftables does not say its generation".to_owned()))
    }

    /// Our table, and a generation of which it is. Without a table no program is needed: most hosts of real servers have
    /// none, and no `nft` either.
    pub(super) fn read(&mut self) -> Result<(Option<Table>, u32), KernelError> {
        let mut generation = self.generation()?;
        let mut table = self.list()?;
        for _ in 1..LISTINGS {
            let now = self.generation()?;
            if now == generation {
                break;
            }
            // Its number may be of a transaction that came in between; an older one only brings another look.
            generation = now;
            table = self.list()?;
        }
        Ok((table, generation))
    }

    fn list(&mut self) -> Result<Option<Table>, KernelError> {
        if !self.has_table()? {
            return Ok(None);
        }
        let listed = nft(&["--json", "--numeric", "list", "table", "inet", TABLE], String::new())?;
        if listed.status.success() {
            let text = String::from_utf8_lossy(&listed.stdout);
            return decode(&text)
                .map(Some)
                .map_err(|error| KernelError::Io(error.to_string()));
        }
        // Gone between the question and the listing.
        if !self.has_table()? {
            return Ok(None);
        }
        Err(KernelError::Ruleset { message: said(&listed) })
    }

    fn has_table(&mut self) -> Result<bool, KernelError> {
        let mut name = attribute(NFTA_TABLE, TABLE.as_bytes());
        // Room for the final zero byte is in the padding.
        name.resize(name.len().next_multiple_of(4), 0);
        match self.socket.ask(&request(NFT_MSG_GETTABLE, NFPROTO_INET, &name)) {
            Ok(_) => Ok(true),
            Err(KernelError::Refused { errno: ENOENT }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Executes a transaction: all of it, or nothing.
    pub(super) fn apply(transaction: &Transaction) -> Result<(), KernelError> {
        let output = nft(&["--json", "--file", "-"], transaction.json().to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let message = said(&output);
        let modules = ["nf_tables".to_owned(), transaction.modules()].join(", ");
        // What a new table refers to is in the transaction: what is missing can only be a part of the kernel.
        let lacks_a_part = message.contains("not supported")
            || (transaction.makes_table() && message.contains("No such file or directory"));
        Err(if lacks_a_part {
            KernelError::RulesetUnsupported { message, modules }
        } else {
            KernelError::Ruleset { message }
        })
    }

    /// Other people's base chains that drop by policy.
    pub(super) fn firewalls(&mut self) -> Result<BTreeSet<Firewall>, KernelError> {
        let chains = self.socket.dump(&request(NFT_MSG_GETCHAIN, 0, &[]))?;
        Ok(chains.iter().filter_map(|chain| firewall(&chain.payload)).collect())
    }
}

fn firewall(chain: &[u8]) -> Option<Firewall> {
    let family = FAMILIES.iter().find(|(number, _)| chain.first() == Some(number));
    let (_, family) = family?;
    let attributes = attributes(chain);
    let table = text(&attributes, NFTA_TABLE)?;
    let hook = attributes.iter().find(|(kind, _)| *kind == NFTA_CHAIN_HOOK);
    let hook = nested(&hook?.1);
    if number(&attributes, NFTA_CHAIN_POLICY)? != NF_DROP || (*family == "inet" && table == TABLE) {
        return None;
    }
    Some(Firewall {
        family,
        table,
        chain: text(&attributes, NFTA_CHAIN_NAME)?,
        hook: match number(&hook, NFTA_HOOK_HOOKNUM)? {
            1 => Hook::Input,
            2 => Hook::Forward,
            3 => Hook::Output,
            _ => return None,
        },
        priority: number(&hook, NFTA_HOOK_PRIORITY)?.cast_signed(),
    })
}

/// Starts nft.
fn nft(arguments: &[&str], input: String) -> Result<Output, KernelError> {
    run(Command::new("nft").args(arguments), input, PATIENCE).map_err(not_started)
}

fn not_started(error: io::Error) -> KernelError {
    if error.kind() == io::ErrorKind::NotFound {
        return KernelError::ProgramMissing { program: "nft" };
    }
    KernelError::Io(format!("nft: {error}"))
}

/// What nft says of an error, without the places in a file that nobody has.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find(|line| line.contains("Error:"))
        .or(text.lines().next());
    let line = line.unwrap_or("it ended without a word");
    line.split_once("Error: ")
        .map_or(line, |(_, message)| message)
        .trim()
        .to_owned()
}

fn request(kind: u16, family: u8, attributes: &[u8]) -> Message {
    let mut payload = vec![family, 0, 0, 0];
    payload.extend(attributes);
    Message {
        kind: NFNL_SUBSYS_NFTABLES << 8 | kind,
        flags: 0,
        payload,
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // A string's length counts its final zero byte.
    let length = u16::try_from(4 + value.len() + 1).unwrap_or(u16::MAX);
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value, &[0]].concat()
}

/// Kind and value of each attribute behind `struct nfgenmsg`. What is cut short ends the list.
pub(super) fn attributes(message: &[u8]) -> Vec<(u16, Vec<u8>)> {
    nested(message.get(NFGENMSG..).unwrap_or_default())
}

fn nested(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let read = |attribute: NlaBuffer<&[u8]>| (attribute.kind(), attribute.value().to_vec());
    NlasIterator::new(bytes).map_while(Result::ok).map(read).collect()
}

/// nf_tables' numbers are in network byte order.
pub(super) fn number(attributes: &[(u16, Vec<u8>)], kind: u16) -> Option<u32> {
    let (_, value) = attributes.iter().find(|(found, _)| *found == kind)?;
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

pub(super) fn text(attributes: &[(u16, Vec<u8>)], kind: u16) -> Option<String> {
    let (_, value) = attributes.iter().find(|(found, _)| *found == kind)?;
    let text = value.strip_suffix(&[0]).unwrap_or(value);
    Some(String::from_utf8_lossy(text).into_owned())
}
