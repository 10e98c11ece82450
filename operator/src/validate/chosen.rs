//! Which RealServers a VirtualService chooses: by its selector, by its name, or because they are placed.

use super::Refusal;
use super::members::MOST_REAL_SERVERS;
use crate::snapshot::{Key, Meta, Snapshot, StoredRealServer};
use crate::view::View;
use crds::conditions::reason;
use crds::{PlacedRealServer, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// RealServers that were chosen, by name.
#[derive(Default)]
pub(super) struct Chosen<'a> {
    pub(super) readable: Vec<&'a StoredRealServer>,
    pub(super) unreadable: BTreeSet<&'a str>,
    by_name: bool,
}

impl Chosen<'_> {
    pub(super) fn count_allowed(&self) -> Result<(), Refusal> {
        let count = self.readable.len() + self.unreadable.len();
        if count <= MOST_REAL_SERVERS {
            return Ok(());
        }
        let by = if self.by_name {
            "realServerSelector and sorryServer together find"
        } else {
            "realServerSelector finds"
        };
        let message =
            format!("{by} {count} RealServers, a service has at most {MOST_REAL_SERVERS}: narrow the selector");
        Err(Refusal::new(reason::TOO_MANY_REAL_SERVERS, message))
    }
}

/// Those that the selector finds, and the sorry server.
pub(super) fn select<'a>(view: &View<'a>, namespace: &str, selector: &Selector, sorry: Option<&str>) -> Chosen<'a> {
    let is_sorry = |name: &str| sorry == Some(name);
    Chosen {
        by_name: sorry.is_some(),
        ..chosen(view.snapshot, namespace, |meta| {
            is_sorry(&meta.key.name) || selector.matches(&meta.labels)
        })
    }
}

/// One that is listed as leaving is placed only while it is cordoned; or it was, and is asked for: only the spec can tell
/// that from one that was to go, though nothing else of it is accepted.
pub(super) fn placed<'a>(view: &View<'a>, subject: &Key) -> Chosen<'a> {
    let listed = listed(view, subject);
    let spec = view.snapshot.virtual_services.get(subject).map(|stored| &stored.spec);
    let is_asked = |meta: &Meta| {
        spec.is_some_and(|spec| {
            let mut sorry = spec.sorry_server.iter().map(|sorry| &sorry.real_server_name);
            spec.real_server_selector.matches(&meta.labels) || sorry.any(|name| *name == meta.key.name)
        })
    };
    let is_cordoned = |meta: &Meta| {
        let stored = view.snapshot.real_servers.get(&meta.key);
        stored.is_none_or(|stored| stored.spec.cordoned)
    };
    chosen(view.snapshot, &subject.namespace, |meta| {
        let listed = listed.get(meta.key.name.as_str());
        listed.is_some_and(|entry| !entry.leaving || is_cordoned(meta) || is_asked(meta))
    })
}

fn chosen<'a>(snapshot: &'a Snapshot, namespace: &str, is_chosen: impl Fn(&Meta) -> bool) -> Chosen<'a> {
    let first = Key::new(namespace, "");
    let readable = snapshot.real_servers.range(first.clone()..).map(|(_, stored)| stored);
    let readable = readable.take_while(|stored| stored.meta.key.namespace == namespace);
    let unreadable = snapshot
        .undecodable
        .real_servers
        .range(first..)
        .map(|(_, unread)| &unread.meta);
    let unreadable = unreadable.take_while(|meta| meta.key.namespace == namespace && !meta.deleting);
    Chosen {
        readable: readable
            .filter(|stored| !stored.meta.deleting && is_chosen(&stored.meta))
            .collect(),
        unreadable: unreadable
            .filter(|meta| is_chosen(meta))
            .map(|meta| meta.key.name.as_str())
            .collect(),
        by_name: false,
    }
}

/// What the directors' Placements say of each real server now.
pub(super) fn listed<'a>(view: &View<'a>, subject: &Key) -> BTreeMap<&'a str, &'a PlacedRealServer> {
    let placements = view.placements(subject).iter();
    let parts = placements.filter_map(|placement| placement.spec.director.as_ref());
    let entries = parts.flat_map(|part| &part.real_servers);
    entries.map(|entry| (entry.name.as_str(), entry)).collect()
}
