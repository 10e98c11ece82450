//! Which real servers serve, and which do not for what reason.

use super::{Looked, living_addresses};
use crate::snapshot::StoredPlacement;
use crate::validate::{Family, Member, some_of};
use crds::conditions::{Verdict, reason};
use crds::{ForwardingMethod, PlacedRealServer};
use std::collections::BTreeSet;

impl Looked<'_> {
    /// Members that are prepared on every director for every VIP that they have part of.
    pub(super) fn prepared(&self) -> BTreeSet<&str> {
        let members = self.service.members.values();
        let prepared = members.filter(|member| {
            !self.directors.is_empty() && self.directors.iter().all(|director| is_prepared(director, member))
        });
        prepared.map(|member| member.name.as_str()).collect()
    }

    /// Condition Ready, when nothing stands before it: every VIP has a real server that takes new connections.
    pub(super) fn serving<'v>(&self, vips: impl Iterator<Item = &'v String>) -> Verdict {
        let prepared = self.prepared();
        let members = self.service.members.values();
        let serving = members.filter(|member| member.weight > 0 && prepared.contains(member.name.as_str()));
        let serving: Vec<&Member> = serving.collect();
        if serving.is_empty() {
            return Verdict::no(reason::NO_REAL_SERVERS, self.why_nobody_serves(prepared.len()));
        }
        let mut vips = vips.filter(|vip| !serving.iter().any(|member| member.serves(vip)));
        if let Some(vip) = vips.next() {
            let message = format!(
                "no real server serves {vip}: give one an {} address{}",
                Family::of(vip),
                self.left_out()
            );
            return Verdict::no(reason::NO_REAL_SERVERS, message);
        }
        let servers = if serving.len() == 1 {
            "real server serves"
        } else {
            "real servers serve"
        };
        Verdict::yes(reason::OK, format!("{} {servers}{}", serving.len(), self.left_out()))
    }

    fn why_nobody_serves(&self, prepared: usize) -> String {
        let chosen = self.service.members.len() + self.service.refused.len();
        if chosen == 0 {
            let namespace = &self.meta.key.namespace;
            return format!(
                "realServerSelector finds no RealServer in namespace {namespace}: label some, or correct it"
            );
        }
        if self.service.members.is_empty() {
            return format!("no RealServer may serve{}", self.left_out());
        }
        if prepared > 0 {
            return "every prepared real server has weight 0: give one a weight".to_owned();
        }
        let names: Vec<String> = self.service.members.keys().cloned().collect();
        format!(
            "no host is prepared yet ({}): see the RealServers{}",
            some_of(&names),
            self.left_out()
        )
    }

    /// Who has no part, or only a part for want of an address of a VIP's family.
    fn left_out(&self) -> String {
        let mut words = String::new();
        let refused = self.service.refused.keys().cloned();
        let (kept, out): (Vec<String>, Vec<String>) = refused.partition(|name| self.service.members.contains_key(name));
        if !out.is_empty() {
            words += &format!("; left out: {} (see the RealServers)", some_of(&out));
        }
        if !kept.is_empty() {
            words += &format!("; refused and as before: {} (see the RealServers)", some_of(&kept));
        }
        let vips: BTreeSet<&str> = self
            .directors
            .iter()
            .flat_map(|director| living_addresses(director))
            .collect();
        for family in [Family::IPv4, Family::IPv6] {
            let mut of_family = vips.iter().filter(|vip| Family::of(vip) == family);
            let Some(vip) = of_family.next() else {
                continue;
            };
            let members = self.service.members.values();
            let without: Vec<String> = members
                .filter(|member| !member.serves(vip))
                .map(|member| member.name.clone())
                .collect();
            if !without.is_empty() {
                words += &format!("; without {family} address: {}", some_of(&without));
            }
        }
        words
    }

    /// Condition ClientAddressHidden, while any real server is in a table by FullNAT.
    pub(super) fn hidden_clients(&self) -> Option<Verdict> {
        let parts = self
            .directors
            .iter()
            .filter_map(|placement| placement.spec.director.as_ref());
        let by_full_nat = |entry: &&PlacedRealServer| {
            entry.forwarding_method == ForwardingMethod::FullNAT && !entry.prepared.is_empty()
        };
        let names = parts.flat_map(|part| &part.real_servers).filter(by_full_nat);
        let names: BTreeSet<String> = names.map(|entry| entry.name.clone()).collect();
        if names.is_empty() {
            return None;
        }
        let names: Vec<String> = names.into_iter().collect();
        let message = format!(
            "FullNAT: {} see the director's address and not the client's, and connections through it end at a failover",
            some_of(&names)
        );
        Some(Verdict::yes(reason::FULL_NAT, message))
    }
}

fn is_prepared(placement: &StoredPlacement, member: &Member) -> bool {
    let mut entries = placement.spec.director.iter().flat_map(|part| &part.real_servers);
    let Some(entry) = entries.find(|entry| entry.name == member.name) else {
        return false;
    };
    let mut vips = living_addresses(placement).filter(|vip| member.serves(vip)).peekable();
    vips.peek().is_some() && vips.all(|vip| entry.prepared.iter().any(|there| there == vip))
}
