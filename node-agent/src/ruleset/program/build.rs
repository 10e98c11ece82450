//! The pieces that the table is put together from.

use std::net::IpAddr;

use ipvs::Protocol;
use serde_json::Value;

use super::super::words::{TWINS, Twin};
use super::super::{Atom, Base, Chain, Data, Datum, Elements, Kind, Set, Table};
use super::{
    CUT, FLOW_MARKS, FLOW_PORTS, FLOW_PROTOCOLS, LOCAL_MARKS, LOCAL_PORTS, LOCAL_PROTOCOLS, MARKS, OUTER_PORTS,
    OUTER_PROTOCOLS, REPLIES, TUNNEL_VIPS, name,
};

pub(super) fn at(address: IpAddr) -> Atom {
    Atom::Address(address)
}

pub(super) fn of(protocol: Protocol) -> Atom {
    Atom::Number(protocol.number().into())
}

pub(super) fn number(port: u16) -> Atom {
    Atom::Number(port.into())
}

fn address_kind(twin: Twin) -> Kind {
    match twin {
        Twin::Four => Kind::Ipv4Addr,
        Twin::Six => Kind::Ipv6Addr,
    }
}

/// The types that the sets of a name have.
fn key_of(set: &str, twin: Twin) -> Vec<Kind> {
    let address = address_kind(twin);
    match set {
        LOCAL_PORTS | REPLIES | MARKS => vec![address, Kind::InetProto, Kind::InetService],
        LOCAL_PROTOCOLS | OUTER_PROTOCOLS => vec![address, Kind::InetProto],
        LOCAL_MARKS => vec![address, Kind::Mark],
        FLOW_PORTS => vec![address, Kind::InetProto, address, Kind::InetService],
        FLOW_PROTOCOLS => vec![address, Kind::InetProto, address],
        FLOW_MARKS => vec![Kind::Mark, address],
        TUNNEL_VIPS => vec![Kind::Ifname, address],
        OUTER_PORTS => vec![address, Kind::InetService],
        CUT => vec![address, Kind::InetService, address, Kind::InetService],
        // VIPs, directors, segments.
        _ => vec![address],
    }
}

impl Table {
    pub(super) fn insert(&mut self, set: &str, twin: Twin, key: Vec<Atom>) {
        let set = self.set_of(set, twin, None);
        set.elements.insert(key, Datum::Member);
    }

    pub(super) fn map(&mut self, map: &str, twin: Twin, key: Vec<Atom>, datum: Datum) {
        let data = match datum {
            Datum::Mark(_) => Data::Mark,
            Datum::Member | Datum::Goto(_) | Datum::Continue => Data::Verdict,
        };
        let map = self.set_of(map, twin, Some(data));
        map.elements.insert(key, datum);
    }

    pub(super) fn element(&mut self, set: &str, kinds: Vec<Kind>, key: Vec<Atom>) {
        let set = self.sets.entry(set.to_owned()).or_insert_with(|| empty(kinds, None));
        set.elements.insert(key, Datum::Member);
    }

    /// The set, which is made when it is not there yet.
    pub(super) fn set_of(&mut self, set: &str, twin: Twin, data: Option<Data>) -> &mut Set {
        let made = || empty(key_of(set, twin), data);
        self.sets.entry(name(set, twin)).or_insert_with(made)
    }

    /// One rule for each family that has the set.
    pub(super) fn rules_with(&self, set: &str, rule: impl Fn(Twin) -> Vec<Value>) -> Vec<Value> {
        let twins = TWINS
            .into_iter()
            .filter(|twin| self.sets.contains_key(&name(set, *twin)));
        twins.map(rule).map(Value::Array).collect()
    }

    /// A chain, unless it would be empty.
    pub(super) fn hook(&mut self, name: &str, base: Base, rules: Vec<Value>) {
        if !rules.is_empty() {
            let base = Some(base);
            self.chains.insert(name.to_owned(), Chain { base, rules });
        }
    }
}

fn empty(key: Vec<Kind>, data: Option<Data>) -> Set {
    Set {
        key,
        data,
        elements: Elements::new(),
    }
}
