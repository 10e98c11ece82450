//! From the table that is to the table that should be, at the cost of what differs.

use super::table::{Elements, Set};
use super::{Command, Data, Table, Transaction};

/// The transaction that turns `observed` into `desired`.
///
/// Rules are edited chain by chain, elements one by one. Where something stands in the way that cannot be edited, the
/// table is replaced in one transaction, which no packet notices: the kernel never runs half of one.
pub fn difference(observed: Option<&Table>, desired: Option<&Table>) -> Transaction {
    let commands = match (observed, desired) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec![Command::DeleteTable],
        (None, Some(desired)) => made(desired),
        (Some(observed), Some(desired)) if is_editable(observed, desired) => edited(observed, desired),
        (Some(_), Some(desired)) => {
            let mut commands = vec![Command::DeleteTable];
            commands.extend(made(desired));
            commands
        }
    };
    Transaction { commands }
}

fn made(desired: &Table) -> Vec<Command> {
    let mut commands = vec![Command::AddTable];
    commands.extend(edited(&Table::default(), desired));
    commands
}

/// Types of sets and places of chains are given once.
fn is_editable(observed: &Table, desired: &Table) -> bool {
    let same_type = |(name, set): (&String, &Set)| {
        let same = |other: &Set| (&other.key, other.data) == (&set.key, set.data);
        desired.sets.get(name).is_none_or(same)
    };
    let mut chains = observed.chains.iter();
    observed.strange.is_empty()
        && observed.sets.iter().all(same_type)
        && chains.all(|(name, chain)| desired.chains.get(name).is_none_or(|other| other.base == chain.base))
}

/// The order is that of references: a rule refers to sets, an element to a chain, and nothing goes while it is referred to.
fn edited(observed: &Table, desired: &Table) -> Vec<Command> {
    let mut commands = Vec::new();
    for (name, chain) in &observed.chains {
        let wanted = desired.chains.get(name).map(|chain| &chain.rules);
        if !chain.rules.is_empty() && wanted != Some(&chain.rules) {
            commands.push(Command::FlushChain { name: name.clone() });
        }
    }
    for (name, set) in &observed.sets {
        let wanted = desired.sets.get(name).map(|set| &set.elements);
        // A set takes its elements with it; but kernels differ in when chains learn that they are no longer gone to.
        if wanted.is_some() || set.data == Some(Data::Verdict) {
            commands.extend(without(name, &set.elements, wanted));
        }
    }
    for (name, set) in &observed.sets {
        if !desired.sets.contains_key(name) {
            let map = set.data.is_some();
            commands.push(Command::DeleteSet {
                name: name.clone(),
                map,
            });
        }
    }
    for name in observed.chains.keys() {
        if !desired.chains.contains_key(name) {
            commands.push(Command::DeleteChain { name: name.clone() });
        }
    }
    commands.extend(added(observed, desired));
    commands
}

fn added(observed: &Table, desired: &Table) -> Vec<Command> {
    let mut commands = Vec::new();
    for (name, Set { key, data, elements: _ }) in &desired.sets {
        if !observed.sets.contains_key(name) {
            commands.push(Command::AddSet {
                name: name.clone(),
                key: key.clone(),
                data: *data,
            });
        }
    }
    for (name, chain) in &desired.chains {
        if !observed.chains.contains_key(name) {
            commands.push(Command::AddChain {
                name: name.clone(),
                base: chain.base,
            });
        }
    }
    for (name, set) in &desired.sets {
        let present = observed.sets.get(name).map(|set| &set.elements);
        let is_new = |(key, datum): &(_, _)| present.and_then(|present| present.get(*key)) != Some(*datum);
        let elements: Elements = set
            .elements
            .iter()
            .filter(is_new)
            .map(|(k, d)| (k.clone(), d.clone()))
            .collect();
        if !elements.is_empty() {
            commands.push(Command::AddElements {
                set: name.clone(),
                elements,
            });
        }
    }
    for (name, chain) in &desired.chains {
        if observed.chains.get(name).map(|chain| &chain.rules) != Some(&chain.rules) {
            let add = |rule: &serde_json::Value| Command::AddRule {
                chain: name.clone(),
                rule: rule.clone(),
            };
            commands.extend(chain.rules.iter().map(add));
        }
    }
    commands
}

/// Elements that go, and those that change: the kernel does not edit a value.
fn without(name: &str, present: &Elements, wanted: Option<&Elements>) -> Option<Command> {
    let goes = |(key, datum): &(_, _)| wanted.and_then(|wanted| wanted.get(*key)) != Some(*datum);
    let elements: Elements = present
        .iter()
        .filter(goes)
        .map(|(k, d)| (k.clone(), d.clone()))
        .collect();
    (!elements.is_empty()).then(|| Command::DeleteElements {
        set: name.to_owned(),
        elements,
    })
}
