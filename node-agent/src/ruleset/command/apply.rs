//! What the kernel does with a command: what must be there, what may not, and what refers to what.

use std::collections::BTreeSet;

use super::super::table::references;
use super::super::{Chain, Data, Datum, Elements, Kind, Set, TABLE, Table};
use super::{Command, Refusal};

impl Command {
    pub(super) fn apply(&self, place: &mut Option<Table>) -> Result<(), Refusal> {
        let table = match self {
            Self::AddTable => place.get_or_insert_default(),
            Self::DeleteTable
            | Self::AddSet { .. }
            | Self::DeleteSet { .. }
            | Self::AddElements { .. }
            | Self::DeleteElements { .. }
            | Self::AddChain { .. }
            | Self::FlushChain { .. }
            | Self::DeleteChain { .. }
            | Self::AddRule { .. } => place.as_mut().ok_or_else(|| missing(TABLE))?,
        };
        match self {
            Self::AddTable => Ok(()),
            Self::DeleteTable => {
                *place = None;
                Ok(())
            }
            Self::AddSet { name, key, data } => table.add_set(name, key, *data),
            Self::DeleteSet { name, map: _ } => table.delete_set(name),
            Self::AddElements { set, elements } => table.add_elements(set, elements),
            Self::DeleteElements { set, elements } => table.delete_elements(set, elements),
            Self::AddChain { name, base } => {
                let chain = table.chains.entry(name.clone()).or_insert_with(|| Chain {
                    base: *base,
                    rules: Vec::new(),
                });
                if chain.base == *base { Ok(()) } else { Err(exists(name)) }
            }
            Self::FlushChain { name } => {
                table.chain(name)?.rules.clear();
                Ok(())
            }
            Self::DeleteChain { name } => table.delete_chain(name),
            Self::AddRule { chain, rule } => {
                let mut names = BTreeSet::new();
                references(rule, &mut names);
                match names.into_iter().find(|name| !table.sets.contains_key(name)) {
                    Some(name) => return Err(missing(&name)),
                    None => table.chain(chain)?.rules.push(rule.clone()),
                }
                Ok(())
            }
        }
    }
}

impl Table {
    fn chain(&mut self, name: &str) -> Result<&mut Chain, Refusal> {
        self.chains.get_mut(name).ok_or_else(|| missing(name))
    }

    fn set(&mut self, name: &str) -> Result<&mut Set, Refusal> {
        self.sets.get_mut(name).ok_or_else(|| missing(name))
    }

    fn add_set(&mut self, name: &str, key: &[Kind], data: Option<Data>) -> Result<(), Refusal> {
        let set = self.sets.entry(name.to_owned()).or_insert_with(|| Set {
            key: key.to_vec(),
            data,
            elements: Elements::new(),
        });
        if set.key == key && set.data == data {
            Ok(())
        } else {
            Err(exists(name))
        }
    }

    fn delete_set(&mut self, name: &str) -> Result<(), Refusal> {
        let mut used = BTreeSet::new();
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        rules.for_each(|rule| references(rule, &mut used));
        if used.contains(name) {
            return Err(Refusal::Busy(name.to_owned()));
        }
        self.sets.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    fn delete_chain(&mut self, name: &str) -> Result<(), Refusal> {
        let target = Datum::Goto(name.to_owned());
        let is_target = self
            .sets
            .values()
            .any(|set| set.elements.values().any(|datum| *datum == target));
        if is_target || !self.chain(name)?.rules.is_empty() {
            return Err(Refusal::Busy(name.to_owned()));
        }
        self.chains.remove(name);
        Ok(())
    }

    fn add_elements(&mut self, name: &str, elements: &Elements) -> Result<(), Refusal> {
        for datum in elements.values() {
            if let Datum::Goto(chain) = datum {
                self.chain(chain)?;
            }
        }
        let set = self.set(name)?;
        for (key, datum) in elements {
            if set.elements.entry(key.clone()).or_insert_with(|| datum.clone()) != datum {
                return Err(exists(name));
            }
        }
        Ok(())
    }

    fn delete_elements(&mut self, name: &str, elements: &Elements) -> Result<(), Refusal> {
        let set = self.set(name)?;
        for key in elements.keys() {
            set.elements.remove(key).ok_or_else(|| missing(name))?;
        }
        Ok(())
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::Missing(name.to_owned())
}

fn exists(name: &str) -> Refusal {
    Refusal::Exists(name.to_owned())
}
