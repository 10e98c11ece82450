//! Claims on VIPs, ports and firewall marks. The one whose Placement carries a claim keeps it; among new claims the older, then by name.
//!
//! A refusal makes its VirtualService fall back on what it holds, which may take from another what that one was just
//! given: so the board is dealt again until nobody new is refused. Refusals only grow, so this ends.

mod board;

use super::held::{ClaimKey, Scopes, claims, group_of};
use super::{Group, Held, Refusal, Service, Standing, Validated};
use crate::snapshot::Key;
use crate::view::View;
use board::{Board, Claims, Conflict};
use crds::conditions::reason;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One VirtualService at the board.
struct Claimant<'a> {
    key: &'a Key,
    created: Timestamp,
    held: &'a Held,
    wanted: Option<Wanted<'a>>,
}

struct Wanted<'a> {
    group: &'a str,
    claims: Claims,
}

#[derive(Default)]
struct Refusals {
    /// What it wants cannot be had; what it holds goes on.
    refused: BTreeMap<Key, String>,
    /// What it holds is held by another with a better claim, which only a race of two operators brings about.
    lost: BTreeMap<Key, String>,
}

/// Refuses whoever claims what another has.
pub(super) fn settle(view: &View<'_>, held: &BTreeMap<Key, Held>, scopes: &Scopes, validated: &mut Validated) {
    let nothing = Held::default();
    let Refusals { refused, lost } = {
        let claimants = claimants(view, held, &nothing, scopes, &validated.services);
        let mut refusals = Refusals::default();
        while deal(view, &validated.groups, &claimants, &mut refusals) {}
        refusals
    };
    for (key, message) in refused {
        let held = held.get(&key);
        let standing = Service::keep(&key, &validated.groups, held, view);
        let (members, refused_members) = super::members::kept(view, &key);
        if let Some(service) = validated.services.get_mut(&key) {
            service.accepted = super::refused(Refusal::new(reason::ADDRESS_CONFLICT, message), held, &standing);
            service.standing = standing;
            service.members = members;
            service.refused = refused_members;
            service.sorry = super::sorry::placed(view, &key).map(str::to_owned);
        }
    }
    for (key, message) in lost {
        if let Some(service) = validated.services.get_mut(&key) {
            let refusal = Refusal::new(reason::ADDRESS_CONFLICT, message);
            service.accepted = super::refused(refusal, None, &Standing::Withdraw);
            service.standing = Standing::Withdraw;
        }
    }
}

fn claimants<'a>(
    view: &View<'a>,
    held: &'a BTreeMap<Key, Held>,
    nothing: &'a Held,
    scopes: &Scopes,
    services: &'a BTreeMap<Key, Service>,
) -> Vec<Claimant<'a>> {
    let mut claimants: Vec<_> = services
        .iter()
        .filter(|(_, service)| service.standing != Standing::Withdraw)
        .map(|(key, service)| Claimant {
            key,
            created: view
                .snapshot
                .service_meta(key)
                .map(|meta| meta.created)
                .unwrap_or_default(),
            held: held.get(key).unwrap_or(nothing),
            wanted: wanted(scopes, &service.standing),
        })
        .collect();
    claimants.sort_by_key(|claimant| (claimant.created, claimant.key));
    claimants
}

fn wanted<'a>(scopes: &Scopes, standing: &'a Standing) -> Option<Wanted<'a>> {
    match standing {
        Standing::Serve(content) => {
            let scope = scopes.of(&content.group);
            let addresses = || content.addresses.iter().map(String::as_str);
            let keys = content
                .services
                .iter()
                .flat_map(|service| claims(service, addresses(), &scope));
            Some(Wanted {
                group: &content.group,
                claims: Claims {
                    keys: keys.collect(),
                    addresses: content.addresses.iter().cloned().collect(),
                },
            })
        }
        Standing::Keep { .. } | Standing::Withdraw => None,
    }
}

/// Deals the board once; whether somebody new was refused.
fn deal(
    view: &View<'_>,
    groups: &BTreeMap<String, Group>,
    claimants: &[Claimant<'_>],
    refusals: &mut Refusals,
) -> bool {
    let before = (refusals.refused.len(), refusals.lost.len());
    let mut board = Board::default();
    let mut holders: Vec<&Claimant<'_>> = claimants.iter().filter(|c| !c.held.addresses.is_empty()).collect();
    holders.sort_by_key(|c| (c.moves(refusals), !c.held.owned, c.created, c.key));
    for holder in holders {
        if refusals.lost.contains_key(holder.key) {
            continue;
        }
        let (group, claims) = holder.keeps(refusals);
        match (board.check(groups, holder.key, group, &claims), holder.stands(refusals)) {
            (Ok(()) | Err(Conflict::Namespace(_)), None) | (Ok(()), Some(_)) => board.put(holder.key, group, &claims),
            (Err(conflict), Some(_)) => {
                refusals.refused.insert(holder.key.clone(), conflict.message());
            }
            (Err(conflict), None) => {
                refusals.lost.insert(holder.key.clone(), conflict.message());
            }
        }
    }
    for claimant in claimants {
        let Some(wanted) = claimant.stands(refusals) else {
            continue;
        };
        let group = Some(wanted.group);
        let verdict = claimant.new_keys_are_readable(view, wanted);
        match verdict.and_then(|()| board.check(groups, claimant.key, group, &wanted.claims)) {
            Ok(()) => board.put(claimant.key, group, &wanted.claims),
            Err(conflict) => {
                refusals.refused.insert(claimant.key.clone(), conflict.message());
            }
        }
    }
    before != (refusals.refused.len(), refusals.lost.len())
}

impl<'a> Claimant<'a> {
    /// What it still hopes for.
    fn stands(&self, refusals: &Refusals) -> Option<&Wanted<'a>> {
        let out = refusals.refused.contains_key(self.key) || refusals.lost.contains_key(self.key);
        self.wanted.as_ref().filter(|_| !out)
    }

    /// Whether it wants to go to another group with what it holds: those that stay come first.
    fn moves(&self, refusals: &Refusals) -> bool {
        let wanted = self.stands(refusals).map(|wanted| wanted.group);
        wanted.is_some() && self.held.group.as_deref() != wanted
    }

    /// The part of what it holds that it goes on holding.
    fn keeps(&'a self, refusals: &Refusals) -> (Option<&'a str>, Claims) {
        let Held { addresses, keys, .. } = self.held;
        match self.stands(refusals) {
            Some(wanted) => {
                let claims = Claims {
                    addresses: wanted.claims.addresses.intersection(addresses).cloned().collect(),
                    keys: wanted.claims.keys.intersection(keys).cloned().collect(),
                };
                (Some(wanted.group), claims)
            }
            None => {
                let claims = Claims {
                    addresses: addresses.clone(),
                    keys: keys.clone(),
                };
                (self.held.group.as_deref(), claims)
            }
        }
    }

    /// A Placement that cannot be read holds its VIPs whole: nothing new is placed there.
    fn new_keys_are_readable(&self, view: &View<'_>, wanted: &Wanted<'_>) -> Result<(), Conflict> {
        let wanted = &wanted.claims;
        let new = |address: &str| {
            let of_address = |key: &&ClaimKey| matches!(key, ClaimKey::Port { address: of, .. } if of == address);
            let mut keys = wanted.keys.iter().filter(of_address);
            let is_new = wanted.addresses.contains(address) && !self.held.addresses.contains(address);
            is_new || keys.any(|key| !self.held.keys.contains(key))
        };
        let mut unreadable = view.unreadable_addresses();
        match unreadable.find(|(subject, address)| *subject != self.key && new(address)) {
            None => Ok(()),
            Some((subject, address)) => Err(Conflict::Address(format!(
                "{address} is in a Placement of VirtualService {subject} that this operator cannot read: upgrade \
                 lvs-operator, or choose another address"
            ))),
        }
    }
}

/// Which DirectorGroups meet on a node: by what they select, and by what is placed under them.
pub(super) fn scopes(view: &View<'_>, groups: &BTreeMap<String, Group>) -> Scopes {
    let selected = groups
        .values()
        .flat_map(|group| group.nodes.iter().map(|node| (node.as_str(), group.name.as_str())));
    let placed = view
        .service_placements()
        .filter(|placement| placement.spec.director.is_some())
        .filter_map(|placement| Some((placement.spec.node_name.as_str(), group_of(placement)?)));
    Scopes::new(selected.chain(placed))
}
