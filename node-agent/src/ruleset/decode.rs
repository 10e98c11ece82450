//! From `nft --json --numeric list table` to the table. What we would never write is kept in sight as strange, not left out.

use serde_json::{Map, Value};

use super::table::{BASE_KINDS, HOOKS, KINDS};
use super::{Atom, Base, Chain, Data, Datum, Elements, Kind, Set, TABLE, Table};

/// A listing that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nft's listing of table {TABLE} is not understood: {0}")]
pub struct NotAListing(String);

/// The table that a listing shows.
///
/// # Errors
/// It is no listing. One that shows what we do not know is one.
pub fn decode(listing: &str) -> Result<Table, NotAListing> {
    let listing: Value = serde_json::from_str(listing).map_err(|error| NotAListing(error.to_string()))?;
    let objects = listing["nftables"].as_array();
    let objects = objects.ok_or_else(|| NotAListing("no list \"nftables\"".to_owned()))?;
    let mut table = Table::default();
    // nft lists rules behind their chains, and names chains in elements before it lists them.
    for object in objects {
        let object = object.as_object().into_iter().flatten();
        for (kind, value) in object {
            if take(&mut table, kind, value).is_none() {
                table
                    .strange
                    .insert(format!("{kind} {}", value["name"].as_str().unwrap_or_default()));
            }
        }
    }
    Ok(table)
}

/// `None` for what is strange.
fn take(table: &mut Table, kind: &str, value: &Value) -> Option<()> {
    match kind {
        "metainfo" => Some(()),
        "table" => only(value, &["family", "name", "handle"]),
        "set" | "map" => {
            let (name, set) = set(value)?;
            table.sets.insert(name, set);
            Some(())
        }
        "chain" => {
            let name = value["name"].as_str()?.to_owned();
            let base = base(value)?;
            table.chains.entry(name).or_insert_with(|| Chain {
                base,
                rules: Vec::new(),
            });
            Some(())
        }
        "rule" => {
            let chain = table.chains.get_mut(value["chain"].as_str()?)?;
            chain.rules.push(rule(value)?);
            Some(())
        }
        _ => None,
    }
}

/// Whether an object has no other members.
fn only(value: &Value, members: &[&str]) -> Option<()> {
    let mut names = value.as_object()?.keys();
    names.all(|name| members.contains(&name.as_str())).then_some(())
}

fn set(value: &Value) -> Option<(String, Set)> {
    only(value, &["family", "name", "table", "type", "handle", "elem", "map"])?;
    let kinds = match value["type"].as_array() {
        Some(kinds) => kinds.as_slice(),
        None => std::slice::from_ref(&value["type"]),
    };
    let key = kinds.iter().map(kind).collect::<Option<Vec<Kind>>>()?;
    let data = match value.get("map") {
        None => None,
        Some(word) => Some(
            [Data::Mark, Data::Verdict]
                .into_iter()
                .find(|data| word == data.as_str())?,
        ),
    };
    let mut elements = Elements::new();
    for element in value["elem"].as_array().into_iter().flatten() {
        let (parts, datum) = match data {
            None => (element, Datum::Member),
            Some(data) => (element.get(0)?, datum(data, element.get(1)?)?),
        };
        elements.insert(atoms(&key, parts)?, datum);
    }
    let name = value["name"].as_str()?.to_owned();
    Some((name, Set { key, data, elements }))
}

fn kind(word: &Value) -> Option<Kind> {
    KINDS.into_iter().find(|kind| word == kind.as_str())
}

fn atoms(kinds: &[Kind], words: &Value) -> Option<Vec<Atom>> {
    let parts = match words.get("concat") {
        Some(parts) => parts.as_array()?.as_slice(),
        None => std::slice::from_ref(words),
    };
    if parts.len() != kinds.len() {
        return None;
    }
    kinds.iter().zip(parts).map(|(kind, part)| atom(*kind, part)).collect()
}

fn atom(kind: Kind, word: &Value) -> Option<Atom> {
    Some(match kind {
        Kind::Ipv4Addr | Kind::Ipv6Addr => Atom::Address(word.as_str()?.parse().ok()?),
        Kind::InetProto | Kind::InetService | Kind::Mark => Atom::Number(word.as_u64()?.try_into().ok()?),
        Kind::Ifname => Atom::Name(word.as_str()?.to_owned()),
    })
}

fn datum(data: Data, word: &Value) -> Option<Datum> {
    match data {
        Data::Mark => Some(Datum::Mark(word.as_u64()?.try_into().ok()?)),
        Data::Verdict if word.get("continue").is_some() => Some(Datum::Continue),
        Data::Verdict => Some(Datum::Goto(word.get("goto")?["target"].as_str()?.to_owned())),
    }
}

/// `None` for a base that ours never have; `Some(None)` for a chain without.
fn base(value: &Value) -> Option<Option<Base>> {
    let own = ["family", "table", "name", "handle"];
    if only(value, &own).is_some() {
        return Some(None);
    }
    only(value, &[&own[..], &["type", "hook", "prio", "policy"]].concat())?;
    let known = |words: &[&'static str], word: &str| words.iter().copied().find(|known| value[word] == *known);
    let base = Base {
        kind: known(&BASE_KINDS, "type")?,
        hook: known(&HOOKS, "hook")?,
        priority: value["prio"].as_i64()?.try_into().ok()?,
    };
    (value["policy"] == "accept").then_some(Some(base))
}

/// A rule's words. One with a comment is none of ours, and compares as different by it.
fn rule(value: &Value) -> Option<Value> {
    let mut words = value["expr"].clone();
    words.as_array_mut()?.iter_mut().for_each(without_count);
    if let Some(comment) = value.get("comment") {
        words
            .as_array_mut()?
            .push(Value::Object(Map::from_iter([("comment".to_owned(), comment.clone())])));
    }
    Some(words)
}

/// What a counter has counted is no difference.
fn without_count(statement: &mut Value) {
    if let Some(counter) = statement.get_mut("counter")
        && counter.is_object()
    {
        *counter = Value::Null;
    }
}
