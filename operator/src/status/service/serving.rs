//! Which real servers serve, and which do not for what reason.

use super::{Looked, living_addresses};
use crate::snapshot::StoredPlacement;
use crate::validate::{Family, Member, some_of};
use crate::view::HealthFact;
use crds::conditions::{Verdict, reason};
use std::collections::BTreeSet;

impl Looked<'_> {
    /// The members that serve by themselves: all but the sorry server.
    pub(super) fn ordinary(&self) -> impl Iterator<Item = &Member> {
        self.service.members.values().filter(|member| !member.sorry)
    }

    /// Members that are prepared on every director for every VIP that they have part of.
    pub(super) fn prepared(&self) -> BTreeSet<&str> {
        let prepared = self.ordinary().filter(|member| {
            !self.directors.is_empty() && self.directors.iter().all(|director| is_prepared(director, member))
        });
        prepared.map(|member| member.name.as_str()).collect()
    }

    /// Members that pass their health checks, or serve until these have found out something, by the word of every director.
    pub(super) fn healthy(&self) -> BTreeSet<&str> {
        let is_up = |director: &&StoredPlacement, member: &Member| {
            let fact = self.view.health_fact(director, &member.name, &member.addresses);
            match fact {
                HealthFact::Up => true,
                HealthFact::Pending { serves } => serves,
                HealthFact::Down(_) | HealthFact::Unknown => false,
            }
        };
        let healthy = self.ordinary().filter(|member| {
            !self.directors.is_empty() && self.directors.iter().all(|director| is_up(director, member))
        });
        healthy.map(|member| member.name.as_str()).collect()
    }

    /// Condition Ready, when nothing stands before it: every VIP has a real server that takes new connections, and together
    /// they have the weight of the quorum.
    pub(super) fn serving<'v>(&self, vips: impl Iterator<Item = &'v String>) -> Verdict {
        let (prepared, healthy) = (self.prepared(), self.healthy());
        let is_in = |member: &&Member| member.weight > 0 && !member.leaving && prepared.contains(member.name.as_str());
        let serving = self.ordinary().filter(is_in);
        let (serving, down): (Vec<&Member>, Vec<&Member>) =
            serving.partition(|member| healthy.contains(member.name.as_str()));
        let weight = serving.iter().map(|member| i64::from(member.weight)).sum();
        if let Some(sorry) = self.sorry_answers(weight) {
            return sorry;
        }
        if serving.is_empty() && !down.is_empty() {
            let names: Vec<String> = down.iter().map(|member| member.name.clone()).collect();
            let message = format!(
                "no real server passes its health checks ({}): see the RealServers",
                some_of(&names)
            );
            return Verdict::no(reason::NO_REAL_SERVERS, message);
        }
        if serving.is_empty() {
            return Verdict::no(reason::NO_REAL_SERVERS, self.why_nobody_serves(&prepared));
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
        if let Some(below) = self.below_quorum(weight) {
            return below;
        }
        let servers = if serving.len() == 1 {
            "real server serves"
        } else {
            "real servers serve"
        };
        let down = match down.len() {
            0 => String::new(),
            down => format!("; down: {down} (see the RealServers)"),
        };
        let words = format!(
            "{} {servers}{down}{}{}",
            serving.len(),
            self.on_leave(),
            self.left_out()
        );
        Verdict::yes(reason::OK, words)
    }

    fn why_nobody_serves(&self, prepared: &BTreeSet<&str>) -> String {
        let is_sorry = |name: &&String| self.service.sorry.as_ref() == Some(*name);
        let refused = self.service.refused.keys().filter(|name| !is_sorry(name)).count();
        let members = self.ordinary().count();
        if members + refused == 0 {
            let namespace = &self.meta.key.namespace;
            return format!(
                "realServerSelector finds no RealServer in namespace {namespace}: label some, or correct it"
            );
        }
        if members == 0 {
            return format!("no RealServer may serve{}", self.left_out());
        }
        let cordoned = self.ordinary().filter(|member| member.leaving);
        let cordoned: Vec<String> = cordoned.map(|member| member.name.clone()).collect();
        if !prepared.is_empty() && !cordoned.is_empty() {
            return format!(
                "every prepared real server is cordoned ({}) or has weight 0: set cordoned to false on one{}",
                some_of(&cordoned),
                self.left_out()
            );
        }
        if !prepared.is_empty() {
            return "every prepared real server has weight 0: give one a weight".to_owned();
        }
        let names: Vec<String> = self.ordinary().map(|member| member.name.clone()).collect();
        format!(
            "no host is prepared yet ({}): see the RealServers{}",
            some_of(&names),
            self.left_out()
        )
    }

    /// Who has no part, or only a part for want of an address of a VIP's family.
    pub(super) fn left_out(&self) -> String {
        let mut words = String::new();
        let is_sorry = |name: &&String| self.service.sorry.as_ref() == Some(*name);
        if let Some(sorry) = self.service.refused.keys().find(is_sorry) {
            let how = match self.service.members.contains_key(sorry) {
                true => "refused and as before",
                false => "left out",
            };
            words += &format!("; sorry server {how}: {sorry} (see the RealServer)");
        }
        let refused = self.service.refused.keys().filter(|name| !is_sorry(name)).cloned();
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
}

fn is_prepared(placement: &StoredPlacement, member: &Member) -> bool {
    let mut entries = placement.spec.director.iter().flat_map(|part| &part.real_servers);
    let Some(entry) = entries.find(|entry| entry.name == member.name) else {
        return false;
    };
    let mut vips = living_addresses(placement).filter(|vip| member.serves(vip)).peekable();
    vips.peek().is_some() && vips.all(|vip| entry.prepared.iter().any(|there| there == vip))
}
