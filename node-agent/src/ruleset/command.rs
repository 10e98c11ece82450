//! What a transaction is made of: nft's commands, as values, as JSON, as text, and what the kernel does with them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Atom, Base, Data, Datum, Elements, Kind, TABLE, Table, words};

mod apply;

/// Commands that the kernel executes all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// In order.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `add table`: makes it, or finds it.
    AddTable,
    /// `delete table`, with everything in it.
    DeleteTable,
    /// `add set`, `add map`.
    AddSet {
        /// Its name.
        name: String,
        /// Types of the parts of its keys.
        key: Vec<Kind>,
        /// Type of its values, when it is a map.
        data: Option<Data>,
    },
    /// `delete set`, `delete map`.
    DeleteSet {
        /// Its name.
        name: String,
        /// Whether it is a map.
        map: bool,
    },
    /// `add element`.
    AddElements {
        /// The set.
        set: String,
        /// What is added.
        elements: Elements,
    },
    /// `delete element`.
    DeleteElements {
        /// The set.
        set: String,
        /// What is deleted.
        elements: Elements,
    },
    /// `add chain`.
    AddChain {
        /// Its name.
        name: String,
        /// Where packets enter it.
        base: Option<Base>,
    },
    /// `flush chain`: deletes its rules.
    FlushChain {
        /// Its name.
        name: String,
    },
    /// `delete chain`, an empty one.
    DeleteChain {
        /// Its name.
        name: String,
    },
    /// `add rule`, at the end.
    AddRule {
        /// The chain.
        chain: String,
        /// The rule.
        rule: Value,
    },
}

/// Words of nft that are modules of their own in a distribution's kernel.
const MODULES: [(&str, &str); 7] = [
    (r#""ct":"#, "nft_ct"),
    (r#""type":"nat""#, "nft_chain_nat"),
    (r#""masquerade":"#, "nft_masq"),
    (r#""snat":"#, "nft_nat"),
    (r#""numgen":"#, "nft_numgen"),
    (r#""jhash":"#, "nft_hash"),
    (r#""reject":"#, "nft_reject_inet"),
];

/// Why the kernel refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ENOENT.
    #[error("No such file or directory: {0}")]
    Missing(String),
    /// EEXIST: it is there, and differs.
    #[error("File exists: {0}")]
    Exists(String),
    /// EBUSY: something refers to it.
    #[error("Device or resource busy: {0}")]
    Busy(String),
}

impl Transaction {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// In one short line.
    pub fn brief(&self) -> String {
        const LONG: usize = 200;
        if let [command] = self.commands.as_slice()
            && command.size() <= 4
        {
            let text = format!("nft {command}");
            if text.len() <= LONG {
                return text;
            }
        }
        let elements: usize = self.commands.iter().map(Command::size).sum();
        let commands = self.commands.len();
        format!("nft -f - # table inet {TABLE}: {commands} commands, {elements} elements")
    }

    /// Whether it changes elements only: then every rule, set and chain is known to be as it was.
    pub fn is_elements_only(&self) -> bool {
        let is_element =
            |command: &Command| matches!(command, Command::AddElements { .. } | Command::DeleteElements { .. });
        self.commands.iter().all(is_element)
    }

    /// Addresses of the elements that it adds and deletes.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let elements = self.commands.iter().filter_map(|command| match command {
            Command::AddElements { set: _, elements } | Command::DeleteElements { set: _, elements } => Some(elements),
            Command::AddTable
            | Command::DeleteTable
            | Command::AddSet { .. }
            | Command::DeleteSet { .. }
            | Command::AddChain { .. }
            | Command::FlushChain { .. }
            | Command::DeleteChain { .. }
            | Command::AddRule { .. } => None,
        });
        let atoms = elements.flat_map(|elements| elements.keys().flatten());
        let address = |atom: &Atom| match atom {
            Atom::Address(address) => Some(*address),
            Atom::Number(_) | Atom::Name(_) => None,
        };
        atoms.filter_map(address).collect()
    }

    /// Whether it makes the table, so that everything that it refers to is in it.
    pub fn makes_table(&self) -> bool {
        self.commands.contains(&Command::AddTable)
    }

    /// The kernel modules that its rules need, beside `nf_tables`.
    pub fn modules(&self) -> String {
        let text = self.json().to_string();
        let needed = MODULES
            .iter()
            .filter(|(word, _)| text.contains(word))
            .map(|(_, module)| *module);
        needed.collect::<Vec<_>>().join(", ")
    }

    /// The document that `nft --json --file -` takes.
    pub fn json(&self) -> Value {
        let commands: Vec<Value> = self.commands.iter().map(Command::json).collect();
        json!({ "nftables": commands })
    }

    /// What the kernel makes of it.
    ///
    /// # Errors
    /// It refuses a command; then nothing was changed.
    pub fn apply(&self, table: Option<&Table>) -> Result<Option<Table>, Refusal> {
        let mut table = table.cloned();
        for command in &self.commands {
            command.apply(&mut table)?;
        }
        Ok(table)
    }
}

impl Command {
    /// How many elements it is about.
    fn size(&self) -> usize {
        match self {
            Self::AddElements { set: _, elements } | Self::DeleteElements { set: _, elements } => elements.len(),
            Self::AddTable
            | Self::DeleteTable
            | Self::AddSet { .. }
            | Self::DeleteSet { .. }
            | Self::AddChain { .. }
            | Self::FlushChain { .. }
            | Self::DeleteChain { .. }
            | Self::AddRule { .. } => 0,
        }
    }

    fn json(&self) -> Value {
        let chain = |name: &str| json!({"family": "inet", "table": TABLE, "name": name});
        match self {
            Self::AddTable => json!({"add": {"table": {"family": "inet", "name": TABLE}}}),
            Self::DeleteTable => json!({"delete": {"table": {"family": "inet", "name": TABLE}}}),
            Self::AddSet { name, key, data } => {
                let types: Vec<Value> = key.iter().map(|kind| json!(kind.as_str())).collect();
                let mut set = json!({"family": "inet", "table": TABLE, "name": name, "type": one_or_many(types)});
                match data {
                    Some(data) => {
                        set["map"] = json!(data.as_str());
                        json!({"add": {"map": set}})
                    }
                    None => json!({"add": {"set": set}}),
                }
            }
            Self::DeleteSet { name, map } => json!({"delete": {set_word(*map): chain(name)}}),
            Self::AddElements { set, elements } => json!({"add": {"element": element_json(set, elements)}}),
            // A map's elements are deleted with their values: nft takes them for another set without.
            Self::DeleteElements { set, elements } => json!({"delete": {"element": element_json(set, elements)}}),
            Self::AddChain { name, base } => {
                let mut value = chain(name);
                if let Some(Base { kind, hook, priority }) = base {
                    value["type"] = json!(kind);
                    value["hook"] = json!(hook);
                    value["prio"] = json!(priority);
                    value["policy"] = json!("accept");
                }
                json!({"add": {"chain": value}})
            }
            Self::FlushChain { name } => json!({"flush": {"chain": chain(name)}}),
            Self::DeleteChain { name } => json!({"delete": {"chain": chain(name)}}),
            Self::AddRule { chain, rule } => {
                json!({"add": {"rule": {"family": "inet", "table": TABLE, "chain": chain, "expr": rule}}})
            }
        }
    }
}

fn set_word(map: bool) -> &'static str {
    if map { "map" } else { "set" }
}

/// A key of one part stands alone.
fn one_or_many(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    }
}

fn element_json(set: &str, elements: &Elements) -> Value {
    let entry = |(key, datum): (&Vec<Atom>, &Datum)| {
        let key = words::concat(key.iter().map(atom_json));
        match datum {
            Datum::Member => key,
            Datum::Mark(mark) => json!([key, mark]),
            Datum::Goto(chain) => json!([key, {"goto": {"target": chain}}]),
            Datum::Continue => json!([key, {"continue": null}]),
        }
    };
    let elements: Vec<Value> = elements.iter().map(entry).collect();
    json!({"family": "inet", "table": TABLE, "name": set, "elem": elements})
}

fn atom_json(atom: &Atom) -> Value {
    match atom {
        Atom::Address(address) => json!(address),
        Atom::Number(number) => json!(number),
        Atom::Name(name) => json!(name),
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl fmt::Display for Command {
    /// As an administrator would write it in a file for nft(8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable => write!(f, "add table inet {TABLE}"),
            Self::DeleteTable => write!(f, "delete table inet {TABLE}"),
            Self::AddSet { name, key, data } => {
                let key: Vec<&str> = key.iter().map(|kind| kind.as_str()).collect();
                let key = key.join(" . ");
                match data {
                    Some(data) => write!(f, "add map inet {TABLE} {name} {{ type {key} : {}; }}", data.as_str()),
                    None => write!(f, "add set inet {TABLE} {name} {{ type {key}; }}"),
                }
            }
            Self::DeleteSet { name, map } => write!(f, "delete {} inet {TABLE} {name}", set_word(*map)),
            Self::AddElements { set, elements } => write_elements(f, "add", set, elements),
            Self::DeleteElements { set, elements } => write_elements(f, "delete", set, elements),
            Self::AddChain { name, base } => {
                write!(f, "add chain inet {TABLE} {name}")?;
                match base {
                    Some(Base { kind, hook, priority }) => {
                        write!(f, " {{ type {kind} hook {hook} priority {priority}; policy accept; }}")
                    }
                    None => Ok(()),
                }
            }
            Self::FlushChain { name } => write!(f, "flush chain inet {TABLE} {name}"),
            Self::DeleteChain { name } => write!(f, "delete chain inet {TABLE} {name}"),
            Self::AddRule { chain, rule } => write!(f, "add rule inet {TABLE} {chain} {}", words::text(rule)),
        }
    }
}

fn write_elements(f: &mut fmt::Formatter<'_>, verb: &str, set: &str, elements: &Elements) -> fmt::Result {
    write!(f, "{verb} element inet {TABLE} {set} {{ ")?;
    for (index, (key, datum)) in elements.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let key: Vec<String> = key.iter().map(ToString::to_string).collect();
        write!(f, "{comma}{}", key.join(" . "))?;
        match datum {
            Datum::Member => {}
            Datum::Mark(mark) => write!(f, " : {mark}")?,
            Datum::Goto(chain) => write!(f, " : goto {chain}")?,
            Datum::Continue => write!(f, " : continue")?,
        }
    }
    write!(f, " }}")
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, command) in self.commands.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}nft {command}")?;
        }
        Ok(())
    }
}
