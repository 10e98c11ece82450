//! Rules in nft's own words: JSON exactly as `nft --json --numeric list` prints it (the same in 1.0.6, 1.1.3 and 1.1.7),
//! so that what is read back compares as it is; and the text of the same words, for people.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

/// ICMP and ICMPv6.
const ICMP: [u8; 2] = [1, 58];
/// `ct state invalid`.
const INVALID: u8 = 1;
const TCP: u8 = 6;
/// `ct direction reply`.
const REPLY: u8 = 1;

/// The words of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Twin {
    Four,
    Six,
}

pub(super) const TWINS: [Twin; 2] = [Twin::Four, Twin::Six];

impl Twin {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Four,
            IpAddr::V6(_) => Self::Six,
        }
    }

    pub(super) fn protocol(self) -> &'static str {
        match self {
            Self::Four => "ip",
            Self::Six => "ip6",
        }
    }

    pub(super) fn digit(self) -> char {
        match self {
            Self::Four => '4',
            Self::Six => '6',
        }
    }
}

pub(super) fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

pub(super) fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

/// The destination that the client sent to, before IPVS rewrote it.
pub(super) fn original_destination(twin: Twin) -> Value {
    json!({"ct": {"key": format!("{} daddr", twin.protocol()), "dir": "original"}})
}

pub(super) fn concat(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut parts: Vec<Value> = parts.into_iter().collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => json!({ "concat": parts }),
    }
}

pub(super) fn set(name: &str) -> Value {
    json!(format!("@{name}"))
}

pub(super) fn equal(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

pub(super) fn differ(left: Value, right: Value) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}

pub(super) fn is_icmp() -> Value {
    equal(meta("l4proto"), json!({ "set": ICMP }))
}

pub(super) fn is_invalid() -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": INVALID}})
}

pub(super) fn is_tcp() -> Value {
    equal(meta("l4proto"), json!(TCP))
}

pub(super) fn is_reply() -> Value {
    equal(json!({"ct": {"key": "direction"}}), json!(REPLY))
}

/// nft writes a network of one address as that address.
pub(super) fn network(network: IpNet) -> Value {
    if network.prefix_len() == network.max_prefix_len() {
        return json!(network.addr());
    }
    json!({"prefix": {"addr": network.network(), "len": network.prefix_len()}})
}

pub(super) fn accept() -> Value {
    json!({ "accept": null })
}

/// Counted, because what is dropped without a trace is searched for in vain.
pub(super) fn drop() -> [Value; 2] {
    [counter(), json!({ "drop": null })]
}

pub(super) fn reset() -> Value {
    json!({"reject": {"type": "tcp reset"}})
}

pub(super) fn counter() -> Value {
    json!({ "counter": null })
}

pub(super) fn vmap(key: Value, map: &str) -> Value {
    json!({"vmap": {"key": key, "data": set(map)}})
}

pub(super) fn set_mark(key: Value, map: &str) -> Value {
    json!({"mangle": {"key": meta("mark"), "value": {"map": {"key": key, "data": set(map)}}}})
}

pub(super) fn set_segment_size(size: u16) -> Value {
    json!({"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": size}})
}

pub(super) fn masquerade() -> Value {
    json!({ "masquerade": null })
}

/// One of the addresses for each connection, in turn.
pub(super) fn snat_in_turn(twin: Twin, addresses: &BTreeSet<IpAddr>) -> Value {
    let turn = json!({"numgen": {"mode": "inc", "mod": addresses.len(), "offset": 0}});
    snat(twin, addresses, &turn)
}

/// One of the addresses for each client.
pub(super) fn snat_by_client(twin: Twin, addresses: &BTreeSet<IpAddr>) -> Value {
    let client = payload(twin.protocol(), "saddr");
    snat(
        twin,
        addresses,
        &json!({"jhash": {"mod": addresses.len(), "expr": client}}),
    )
}

fn snat(twin: Twin, addresses: &BTreeSet<IpAddr>, choice: &Value) -> Value {
    let address = match addresses.iter().next() {
        Some(only) if addresses.len() == 1 => json!(only),
        Some(_) | None => {
            let pairs: Vec<Value> = addresses.iter().enumerate().map(|pair| json!(pair)).collect();
            json!({"map": {"key": choice, "data": {"set": pairs}}})
        }
    };
    json!({"snat": {"family": twin.protocol(), "addr": address}})
}

/// A rule as nft would print it as text; words that are not ours as JSON.
pub(super) fn text(rule: &Value) -> String {
    match rule {
        Value::Array(statements) => statements.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(members) => match members.iter().next() {
            Some((word, value)) if members.len() == 1 => word_text(word, value).unwrap_or_else(|| rule.to_string()),
            Some(_) | None => rule.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => rule.to_string(),
    }
}

fn word_text(word: &str, value: &Value) -> Option<String> {
    let part = |name: &str| value.get(name).map(text);
    let field = |name: &str| value.get(name)?.as_str();
    Some(match word {
        "accept" | "drop" | "masquerade" | "counter" | "continue" if value.is_null() => word.to_owned(),
        "reject" => format!("reject with {}", field("type")?),
        "goto" => format!("goto {}", field("target")?),
        "payload" => format!("{} {}", field("protocol")?, field("field")?),
        "meta" => match field("key")? {
            key @ ("iifname" | "oifname") => key.to_owned(),
            key => format!("meta {key}"),
        },
        "ct" => match field("dir") {
            Some(direction) => format!("ct {direction} {}", field("key")?),
            None => format!("ct {}", field("key")?),
        },
        "tcp option" => format!("tcp option {} {}", field("name")?, field("field")?),
        "concat" => list(value, " . ")?,
        "set" => format!("{{ {} }}", list(value, ", ")?),
        "prefix" => format!("{}/{}", part("addr")?, part("len")?),
        "match" => match field("op")? {
            "==" => format!("{} {}", part("left")?, quoted(value.get("left")?, value.get("right")?)),
            "in" if value.get("right")? == INVALID => format!("{} invalid", part("left")?),
            operator => format!(
                "{} {operator} {}",
                part("left")?,
                quoted(value.get("left")?, value.get("right")?)
            ),
        },
        "vmap" => format!("{} vmap {}", part("key")?, part("data")?),
        "map" => format!("{} map {}", part("key")?, part("data")?),
        "mangle" => format!("{} set {}", part("key")?, part("value")?),
        "numgen" => format!("numgen {} mod {}", field("mode")?, part("mod")?),
        "jhash" => format!("jhash {} mod {}", part("expr")?, part("mod")?),
        "snat" => format!("snat {} to {}", field("family")?, part("addr")?),
        _ => return None,
    })
}

/// Names of interfaces stand in quotation marks, names of sets do not.
fn quoted(left: &Value, right: &Value) -> String {
    match right.as_str() {
        Some(name) if left.get("meta").is_some() && !name.starts_with('@') => format!("{name:?}"),
        Some(_) | None => text(right),
    }
}

/// Members of a list; a pair is a key and its value.
fn list(values: &Value, between: &str) -> Option<String> {
    let member = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([key, value]) => format!("{} : {}", text(key), text(value)),
        Some(_) | None => text(value),
    };
    Some(values.as_array()?.iter().map(member).collect::<Vec<_>>().join(between))
}
