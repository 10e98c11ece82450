//! What a host's kernel holds for a Placement, and how far it is for each of its real servers.

use std::net::IpAddr;

use crds::{ForwardingMethod, HostAddress, HostPart, HostRealServer, HostRealServerReport, HostReport};

use super::Evidence;
use crate::state::{AddressKey, LOOPBACK, SILENCE};

impl Evidence<'_> {
    pub(super) fn host(self, part: &HostPart, former: Option<&HostReport>) -> HostReport {
        let is_left = |entry: &&HostAddress| entry.address.parse().is_ok_and(|vip| self.is_left(entry, vip));
        let left = part.addresses.iter().filter(is_left);
        let server = |(place, server): (usize, &HostRealServer)| {
            // One whose method changes is here twice: only the place tells the two entries apart.
            let former = former.and_then(|former| former.real_servers.get(place));
            self.host_real_server(part, server, former.filter(|said| said.name == server.name))
        };
        HostReport {
            addresses: left.map(|entry| entry.address.clone()).collect(),
            real_servers: part.real_servers.iter().enumerate().map(server).collect(),
        }
    }

    /// Whether the host still holds a VIP for this part. One on an interface where somebody else wants it is the other's.
    fn is_left(self, entry: &HostAddress, vip: IpAddr) -> bool {
        let mut held = self.observed.addresses.keys().filter(|key| key.address == vip);
        match entry.withdraw {
            true => held.any(|key| key.interface == LOOPBACK && !self.is_wanted(key)),
            false => true,
        }
    }

    fn is_wanted(self, key: &AddressKey) -> bool {
        self.desired.state.addresses.contains_key(key)
    }

    fn host_real_server(
        self,
        part: &HostPart,
        server: &HostRealServer,
        former: Option<&HostRealServerReport>,
    ) -> HostRealServerReport {
        let mut report = HostRealServerReport {
            name: server.name.clone(),
            prepared: Vec::new(),
            message: None,
        };
        for entry in part.addresses.iter().filter(|entry| !entry.withdraw) {
            // Where the knobs cannot be read, what was proven before is not refuted.
            let was_prepared = former.is_some_and(|former| former.prepared.contains(&entry.address));
            match self.lacks(server, entry, was_prepared.into()) {
                None => report.prepared.push(entry.address.clone()),
                Some(words) => report.message = Some(words),
            }
        }
        report
    }

    /// What is missing for this real server to take packets to this VIP.
    fn lacks(self, server: &HostRealServer, entry: &HostAddress, before: Before) -> Option<String> {
        let vip: IpAddr = entry.address.parse().ok()?;
        let mut held = self.observed.addresses.keys().filter(|key| key.address == vip);
        if server.forwarding_method == ForwardingMethod::DR && !held.any(|key| self.is_wanted(key)) {
            return Some(format!("{vip} is not on {LOOPBACK}"));
        }
        match (vip, before, &self.observed.blind) {
            (IpAddr::V6(_), _, _) | (IpAddr::V4(_), Before::Prepared, Some(_)) => None,
            (IpAddr::V4(_), Before::Unprepared, Some(error)) => Some(error.to_string()),
            (IpAddr::V4(_), _, None) => self.answers_arp(),
        }
    }

    /// Which knob lets an interface answer ARP for an address that is on `lo` only.
    fn answers_arp(self) -> Option<String> {
        let mut silence = self
            .desired
            .state
            .sysctls
            .iter()
            .filter(|(sysctl, _)| SILENCE.contains(&sysctl.knob));
        let (loud, requirement) =
            silence.find(|(sysctl, requirement)| !self.observed.fulfils(sysctl, **requirement))?;
        Some(format!("{loud} is not {}", requirement.value()))
    }
}

/// What was said before, in this boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Prepared,
    Unprepared,
}

impl From<bool> for Before {
    fn from(prepared: bool) -> Self {
        if prepared { Self::Prepared } else { Self::Unprepared }
    }
}
