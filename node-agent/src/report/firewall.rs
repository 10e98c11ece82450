//! What other people's firewalls do to a Placement: said, never changed.

use std::net::IpAddr;

use crds::conditions::{Verdict, reason};
use crds::{DirectorPart, ForwardingMethod};
use ipvs::Family;

use super::Evidence;
use crate::ruleset::Firewall;

impl Evidence<'_> {
    /// Base chains of others that drop by policy where this part's packets pass. Whether one of their rules accepts them is
    /// theirs to know; the words say what to accept.
    pub(super) fn blocked(self, part: &DirectorPart) -> Option<Verdict> {
        let vips = part.addresses.iter().filter(|entry| !entry.withdraw);
        let families: Vec<Family> = vips
            .filter_map(|entry| Some(Family::of(entry.address.parse::<IpAddr>().ok()?)))
            .collect();
        let translates = part.real_servers.iter().any(|server| match server.forwarding_method {
            ForwardingMethod::NAT | ForwardingMethod::FullNAT => true,
            ForwardingMethod::DR | ForwardingMethod::TUN => false,
        });
        let is_met = |firewall: &&Firewall| families.iter().any(|family| firewall.is_of(*family));
        let firewalls = || self.observed.facts.firewalls.iter().filter(is_met);
        let requests: Vec<_> = firewalls()
            .filter(|firewall| firewall.blocks_requests())
            .map(ToString::to_string)
            .collect();
        let replies: Vec<_> = firewalls()
            .filter(|firewall| translates && firewall.blocks_replies())
            .map(ToString::to_string)
            .collect();
        let mut words = Vec::new();
        if !requests.is_empty() {
            let chains = requests.join(", ");
            words.push(format!("unless its rules accept them, packets to the VIPs are dropped by {chains}: accept the ports of the service there"));
        }
        if !replies.is_empty() {
            let chains = replies.join(", ");
            words.push(format!("unless its rules accept them, replies of real servers are dropped by {chains}: accept established connections there"));
        }
        (!words.is_empty()).then(|| Verdict::yes(reason::FOREIGN_ENTRY, words.join("; ")))
    }
}
