//! What nftables holds, as a value: sets and maps with typed elements, and chains with rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

/// Our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// What it holds that no [`Command`](super::Command) can express: other kinds of objects, elements with a timeout, a
    /// dormant table. There is none in what is desired, and any of it calls for a new table.
    pub strange: BTreeSet<String>,
}

/// A set, or a map when it has `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Types of the parts of its keys.
    pub key: Vec<Kind>,
    /// Type of its values.
    pub data: Option<Data>,
    /// Elements.
    pub elements: Elements,
}

/// Elements of a set or map.
pub type Elements = BTreeMap<Vec<Atom>, Datum>;

/// A type of nft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are nft's words")]
pub enum Kind {
    Ipv4Addr,
    Ipv6Addr,
    InetProto,
    InetService,
    Mark,
    Ifname,
}

/// Every type.
pub(super) const KINDS: [Kind; 6] = [
    Kind::Ipv4Addr,
    Kind::Ipv6Addr,
    Kind::InetProto,
    Kind::InetService,
    Kind::Mark,
    Kind::Ifname,
];

impl Kind {
    /// nft's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Mark => "mark",
            Self::Ifname => "ifname",
        }
    }

    /// The type of addresses of a family.
    pub fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4Addr,
            IpAddr::V6(_) => Self::Ipv6Addr,
        }
    }
}

/// The type of a map's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// A firewall mark.
    Mark,
    /// Where to go on.
    Verdict,
}

impl Data {
    /// nft's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Verdict => "verdict",
        }
    }
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Atom {
    /// An address.
    Address(IpAddr),
    /// A protocol, port or mark.
    Number(u32),
    /// The name of an interface.
    Name(String),
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datum {
    /// Nothing: it is an element of a set.
    Member,
    /// A mark.
    Mark(u32),
    /// The rules of another chain.
    Goto(String),
    /// The next rule.
    Continue,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it; `None` = only from other chains.
    pub base: Option<Base>,
    /// Its rules, as the file `words` makes them.
    pub rules: Vec<Value>,
}

/// Where packets enter a chain. Ours let pass what no rule drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// The hook.
    pub hook: &'static str,
    /// Lower comes first.
    pub priority: i32,
}

/// The kinds and hooks that our chains have.
pub(super) const BASE_KINDS: [&str; 2] = ["filter", "nat"];
pub(super) const HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];

/// Names of sets that a rule refers to.
pub(super) fn references(rule: &Value, found: &mut BTreeSet<String>) {
    match rule {
        Value::String(text) => found.extend(text.strip_prefix('@').map(str::to_owned)),
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Object(members) => members.values().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
