//! From a table back to the ruleset: what of it is ours to know. Elements are all that is needed, and the rules of source
//! NAT; the other rules follow from the sets, and [`difference`](super::difference) sees to it that they do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ipvs::Protocol;
use serde_json::Value;

use super::program::{
    ADDRESS_SOURCE, CUT, DIRECTORS, FLOW_MARKS, FLOW_PORTS, FLOW_PROTOCOLS, INTERFACE_SOURCE, LOCAL_MARKS, LOCAL_PORTS,
    LOCAL_PROTOCOLS, MARKS, OUTER_PORTS, OUTER_PROTOCOLS, PROBE_MARKS, PROBE_SOURCES, PROBED, REPLIES, SEGMENTS,
    SOURCE_NAT, TUNNEL_VIPS, TUNNELS, VIPS, masquerading,
};
use super::{Atom, Cut, Datum, Flow, InterfaceName, Local, Masquerade, Outer, Ruleset, Source, Table};

pub(super) fn ruleset(table: &Table) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for (name, set) in &table.sets {
        if name == TUNNELS {
            let names = set.elements.keys().filter_map(|key| interface(key.first()?));
            names.for_each(|name| {
                ruleset.tunnels.entry(name).or_default();
            });
            continue;
        }
        if name == PROBE_MARKS {
            let marks = set.elements.keys().filter_map(|key| number(key.first()?));
            ruleset.probe_marks = marks.collect();
            continue;
        }
        let Some(name) = name.strip_suffix(['4', '6']) else {
            continue;
        };
        for (key, datum) in &set.elements {
            let _: Option<()> = element(&mut ruleset, table, name, key, datum);
        }
    }
    let rules = table.chains.get(SOURCE_NAT).into_iter().flat_map(|chain| &chain.rules);
    ruleset.masquerade = rules.filter_map(masquerade).collect();
    ruleset
}

fn element(ruleset: &mut Ruleset, table: &Table, set: &str, key: &[Atom], datum: &Datum) -> Option<()> {
    match (set, key) {
        (VIPS, [vip]) => {
            ruleset.guarded.insert(address(vip)?);
        }
        (LOCAL_PORTS | LOCAL_PROTOCOLS | LOCAL_MARKS, key) => {
            ruleset.local.insert(local(set, key)?);
        }
        (REPLIES, [server, protocol, port]) => {
            let key = (address(server)?, self::protocol(protocol)?, short(port)?);
            ruleset.replies.insert(key);
        }
        (MARKS, [vip, protocol, port]) => {
            let Datum::Mark(mark) = datum else { return None };
            let key = (address(vip)?, self::protocol(protocol)?, short(port)?);
            ruleset.marks.insert(key, *mark);
        }
        (FLOW_PORTS | FLOW_PROTOCOLS | FLOW_MARKS, key) => {
            ruleset.full_nat.insert(flow(set, key)?, source(table, datum)?);
        }
        (TUNNEL_VIPS, [device, vip]) => {
            let vips = ruleset.tunnels.entry(interface(device)?).or_default();
            vips.insert(address(vip)?);
        }
        (OUTER_PROTOCOLS, [local, protocol]) => {
            let (local, protocol) = (address(local)?, number(protocol)?.try_into().ok()?);
            ruleset.outer.insert(Outer::Protocol { local, protocol });
        }
        (OUTER_PORTS, [local, port]) => {
            let (local, port) = (address(local)?, short(port)?);
            ruleset.outer.insert(Outer::Port { local, port });
        }
        (DIRECTORS, [director]) => {
            ruleset.directors.insert(address(director)?);
        }
        (PROBE_SOURCES, [source]) => {
            ruleset.probe_sources.insert(address(source)?);
        }
        (PROBED, [vip]) => {
            ruleset.probed.insert(address(vip)?);
        }
        (CUT, [client, from, vip, to]) => {
            ruleset.cut.insert(Cut {
                client: SocketAddr::new(address(client)?, short(from)?),
                vip: SocketAddr::new(address(vip)?, short(to)?),
            });
        }
        (other, [vip]) => {
            let size = other.strip_prefix(SEGMENTS)?.strip_suffix('_')?.parse().ok()?;
            ruleset.segments.insert(address(vip)?, size);
        }
        (_, _) => return None,
    }
    Some(())
}

fn local(set: &str, key: &[Atom]) -> Option<Local> {
    Some(match (set, key) {
        (LOCAL_PORTS, [vip, protocol, port]) => Local::Port {
            vip: address(vip)?,
            protocol: self::protocol(protocol)?,
            port: short(port)?,
        },
        (LOCAL_PROTOCOLS, [vip, protocol]) => Local::Protocol {
            vip: address(vip)?,
            protocol: self::protocol(protocol)?,
        },
        (LOCAL_MARKS, [vip, mark]) => Local::Mark {
            vip: address(vip)?,
            mark: number(mark)?,
        },
        _ => return None,
    })
}

fn flow(set: &str, key: &[Atom]) -> Option<Flow> {
    Some(match (set, key) {
        (FLOW_PORTS, [vip, protocol, server, port]) => Flow::Port {
            vip: address(vip)?,
            protocol: self::protocol(protocol)?,
            server: address(server)?,
            port: short(port)?,
        },
        (FLOW_PROTOCOLS, [vip, protocol, server]) => Flow::Protocol {
            vip: address(vip)?,
            protocol: self::protocol(protocol)?,
            server: address(server)?,
        },
        (FLOW_MARKS, [mark, server]) => Flow::Mark {
            mark: number(mark)?,
            server: address(server)?,
        },
        (_, _) => return None,
    })
}

fn source(table: &Table, datum: &Datum) -> Option<Source> {
    match datum {
        Datum::Continue => Some(Source::Retired),
        Datum::Goto(chain) if chain == INTERFACE_SOURCE => Some(Source::Interface),
        Datum::Goto(chain) if chain.starts_with(ADDRESS_SOURCE) => {
            let rule = table.chains.get(chain)?.rules.first()?;
            addresses(rule.get(0)?).map(Source::Addresses)
        }
        Datum::Goto(_) | Datum::Member | Datum::Mark(_) => None,
    }
}

/// A rule of source NAT, when it is one that we write: read, and written again to the same words.
fn masquerade(rule: &Value) -> Option<Masquerade> {
    let statements = rule.as_array()?;
    let matches = statements.iter().filter_map(|statement| statement.get("match"));
    let (mut network, mut out_interface) = (None, None);
    for one in matches.filter(|one| one["op"] == "==") {
        match &one["right"] {
            right if one["left"]["meta"]["key"] == "oifname" => {
                out_interface = Some(InterfaceName::try_from(right.as_str()?).ok()?);
            }
            right => network = Some(self::network(right)?),
        }
    }
    let read = Masquerade {
        network: network?,
        out_interface,
        addresses: statements.last().and_then(addresses).unwrap_or_default(),
    };
    (masquerading(&read) == *rule).then_some(read)
}

/// The addresses of a `snat` statement.
fn addresses(statement: &Value) -> Option<BTreeSet<IpAddr>> {
    let to = statement.get("snat")?.get("addr")?;
    if let Some(only) = to.as_str() {
        return Some(BTreeSet::from([only.parse().ok()?]));
    }
    let pairs = to.get("map")?.get("data")?.get("set")?.as_array()?;
    pairs.iter().map(|pair| pair.get(1)?.as_str()?.parse().ok()).collect()
}

fn network(words: &Value) -> Option<IpNet> {
    if let Some(only) = words.as_str() {
        return Some(IpNet::from(only.parse::<IpAddr>().ok()?));
    }
    let prefix = words.get("prefix")?;
    let length = prefix.get("len")?.as_u64()?.try_into().ok()?;
    IpNet::new(prefix.get("addr")?.as_str()?.parse().ok()?, length).ok()
}

fn address(atom: &Atom) -> Option<IpAddr> {
    match atom {
        Atom::Address(address) => Some(*address),
        Atom::Number(_) | Atom::Name(_) => None,
    }
}

fn number(atom: &Atom) -> Option<u32> {
    match atom {
        Atom::Number(number) => Some(*number),
        Atom::Address(_) | Atom::Name(_) => None,
    }
}

fn short(atom: &Atom) -> Option<u16> {
    number(atom)?.try_into().ok()
}

fn protocol(atom: &Atom) -> Option<Protocol> {
    short(atom).map(Protocol::from_number)
}

fn interface(atom: &Atom) -> Option<InterfaceName> {
    match atom {
        Atom::Name(name) => InterfaceName::try_from(name.as_str()).ok(),
        Atom::Address(_) | Atom::Number(_) => None,
    }
}
