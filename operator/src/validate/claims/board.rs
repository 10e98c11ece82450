//! The board on which claims are put: who has what, and who may have what beside it.

use crate::snapshot::Key;
use crate::validate::{ClaimKey, Group};
use crds::Protocol;
use std::collections::{BTreeMap, BTreeSet};

/// What one VirtualService asks for, or has.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) addresses: BTreeSet<String>,
    pub(super) keys: BTreeSet<ClaimKey>,
}

/// Who has what.
#[derive(Default)]
pub(super) struct Board<'a> {
    vips: BTreeMap<String, Vip<'a>>,
    keys: BTreeMap<ClaimKey, &'a Key>,
    /// By VIP and protocol: who has every port, and who has any.
    ports: BTreeMap<(String, Protocol), Vec<(i32, &'a Key)>>,
}

struct Vip<'a> {
    group: Option<&'a str>,
    by: &'a Key,
}

/// Why a claim cannot be had.
pub(super) enum Conflict {
    /// Another VirtualService has the port of the VIP, or the mark, or carries the VIP somewhere else.
    Address(String),
    /// Another namespace has the VIP. What serves in spite of that did so with permission, and goes on.
    Namespace(String),
}

impl Conflict {
    pub(super) fn message(self) -> String {
        match self {
            Self::Address(message) | Self::Namespace(message) => message,
        }
    }
}

impl<'a> Board<'a> {
    pub(super) fn check(
        &self,
        groups: &BTreeMap<String, Group>,
        key: &Key,
        group: Option<&str>,
        claims: &Claims,
    ) -> Result<(), Conflict> {
        for claim in &claims.keys {
            if let Some(other) = self.keys.get(claim).filter(|other| **other != key) {
                let instead = match claim {
                    ClaimKey::Port { .. } => "choose another port or address",
                    ClaimKey::Mark { .. } => "choose another mark",
                };
                let message = format!("{claim} is held by VirtualService {other}: {instead}");
                return Err(Conflict::Address(message));
            }
        }
        for address in &claims.addresses {
            self.check_vip(groups, key, group, address)?;
        }
        claims
            .keys
            .iter()
            .try_for_each(|claim| self.check_every_port(key, claim))
    }

    /// A service of every port takes what the others of its VIP do not: its own namespace's affair, and nobody else's.
    fn check_every_port(&self, key: &Key, claim: &ClaimKey) -> Result<(), Conflict> {
        let ClaimKey::Port {
            address,
            protocol,
            port,
        } = claim
        else {
            return Ok(());
        };
        let there = self.ports.get(&(address.clone(), *protocol)).into_iter().flatten();
        let mut others = there.filter(|(other, by)| by.namespace != key.namespace && (*port == 0 || *other == 0));
        match others.next() {
            None => Ok(()),
            Some((_, by)) => Err(Conflict::Namespace(format!(
                "{address} has ports of VirtualService {by}, of another namespace, and port 0 takes every {} port that is \
                 not declared: name the ports, or choose another address",
                protocol.as_str()
            ))),
        }
    }

    fn check_vip(
        &self,
        groups: &BTreeMap<String, Group>,
        key: &Key,
        group: Option<&str>,
        address: &str,
    ) -> Result<(), Conflict> {
        let Some(vip) = self.vips.get(address) else {
            return Ok(());
        };
        let other = vip.by;
        if let (Some(theirs), Some(ours)) = (vip.group, group)
            && theirs != ours
        {
            return Err(Conflict::Address(format!(
                "{address} is placed through DirectorGroup {theirs} by VirtualService {other}: use that group, or choose \
                 another address"
            )));
        }
        let shared = group
            .and_then(|name| groups.get(name))
            .is_some_and(|group| group.shared_addresses);
        if other.namespace != key.namespace && !shared {
            return Err(Conflict::Namespace(format!(
                "{address} belongs to namespace {} (VirtualService {}): choose another address, or ask the administrator \
                 for sharedAddresses in the DirectorGroup",
                other.namespace, other.name
            )));
        }
        Ok(())
    }

    pub(super) fn put(&mut self, key: &'a Key, group: Option<&'a str>, claims: &Claims) {
        for claim in &claims.keys {
            self.keys.entry(claim.clone()).or_insert(key);
            if let ClaimKey::Port {
                address,
                protocol,
                port,
            } = claim
            {
                let there = self.ports.entry((address.clone(), *protocol)).or_default();
                there.push((*port, key));
            }
        }
        for address in &claims.addresses {
            let vip = Vip { group, by: key };
            self.vips.entry(address.clone()).or_insert(vip);
        }
    }
}
