//! What a host's kernel holds for a Placement, and how far it is for each of its real servers.

use std::net::IpAddr;

use crds::{ForwardingMethod, HostAddress, HostPart, HostRealServer, HostRealServerReport, HostReport};

use super::Evidence;
use crate::desired::way_to;
use crate::kernel::KernelError;
use crate::observed::GuePorts;
use crate::plan::Change;
use crate::return_route::bypass;
use crate::state::{AddressKey, Knob, LOOPBACK, SILENCE, Sysctl};
use crate::tunnel::{GuePort, Tunnel, Way};

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
        let mut held = AddressKey::all_of(&self.observed.addresses, vip);
        match entry.withdraw {
            true => held.any(|key| key.is_of_host() && !self.is_wanted(key)),
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
            match self.lacks(part, server, entry, was_prepared.into()) {
                None => report.prepared.push(entry.address.clone()),
                Some(words) => report.message = Some(self.refused(entry).unwrap_or(words)),
            }
        }
        if server.forwarding_method == ForwardingMethod::NAT {
            report.message = self.bypass(part, server);
        }
        report
    }

    /// What the kernel refused on the way to a VIP says more than what is missing for it.
    fn refused(self, entry: &HostAddress) -> Option<String> {
        let vip: IpAddr = entry.address.parse().ok()?;
        let is_ground = |change: &Change| match change {
            Change::SetSysctl { sysctl, value: _ } => sysctl.is_of_host(),
            Change::AddAddress { key, config: _ } => key.address == vip && key.is_of_host(),
            Change::Tunnel(_) => true,
            Change::RestoreSysctl { .. }
            | Change::DeleteAddress { .. }
            | Change::SetTimeouts { .. }
            | Change::Ipvs(_)
            | Change::GrowRuleset(_)
            | Change::ShrinkRuleset(_)
            | Change::Announce { .. } => false,
        };
        let mut own = self
            .refusals
            .iter()
            .filter(|(_, error)| !matches!(error, KernelError::Skipped(_)));
        let refused = own.find(|(change, _)| is_ground(change));
        let refused = refused.map(|(change, error)| format!("{change}: {error}"));
        // A knob that cannot be read is not set either.
        let blind = self.observed.blind.as_ref().filter(|_| vip.is_ipv4());
        refused.or_else(|| blind.map(ToString::to_string))
    }

    /// Whether replies by NAT would miss the director. It does not keep a real server from being prepared. A host of NAT
    /// real servers alone has no VIP; the families are those of the real server.
    fn bypass(self, part: &HostPart, server: &HostRealServer) -> Option<String> {
        let directors = part.directors.iter().filter_map(|text| text.parse().ok()).collect();
        let mut addresses = server.addresses.iter().filter_map(|text| text.parse().ok());
        addresses.find_map(|address| bypass(address, &directors, &self.observed.facts))
    }

    /// What is missing for this real server to take packets to this VIP.
    fn lacks(self, part: &HostPart, server: &HostRealServer, entry: &HostAddress, before: Before) -> Option<String> {
        let vip: IpAddr = entry.address.parse().ok()?;
        match server.forwarding_method {
            // Packets come to the real server's own address.
            ForwardingMethod::NAT | ForwardingMethod::FullNAT => None,
            ForwardingMethod::TUN => match way_to(part, server, vip, &self.observed.facts)? {
                Ok(way) => self.is_closed(&way, vip, before),
                Err(problem) => Some(problem.to_string()),
            },
            ForwardingMethod::DR => match self.holds(vip, LOOPBACK) {
                true => self.is_loud(vip, before),
                false => Some(format!("{vip} is not on {LOOPBACK}")),
            },
        }
    }

    /// Whether an interface has a VIP that belongs there. A director has its VIPs where its clients come in, and takes
    /// packets to them from anywhere.
    fn holds(self, vip: IpAddr, interface: &str) -> bool {
        let mut held = AddressKey::all_of(&self.observed.addresses, vip);
        held.any(|key| self.is_wanted(key) && (key.interface == interface || !key.is_of_host()))
    }

    /// Why the host is not known to be silent about a VIP.
    fn is_loud(self, vip: IpAddr, before: Before) -> Option<String> {
        match (vip, before, &self.observed.blind) {
            (IpAddr::V6(_), _, _) | (IpAddr::V4(_), Before::Prepared, Some(_)) => None,
            (IpAddr::V4(_), Before::Unprepared, Some(error)) => Some(error.to_string()),
            (IpAddr::V4(_), _, None) => self.answers_arp(),
        }
    }

    /// What keeps packets for a VIP from coming out of their tunnel.
    fn is_closed(self, way: &Way, vip: IpAddr, before: Before) -> Option<String> {
        let Way {
            local,
            devices,
            port,
            overhead: _,
            inner: _,
        } = way;
        if !self.observed.facts.is_own(*local) {
            return Some(format!(
                "{local} is no address of this node: what is sent there is not unwrapped here"
            ));
        }
        let device = devices
            .iter()
            .find_map(|(name, tunnel)| self.lacks_device(name, tunnel, vip));
        let is_there = |port: &GuePort| {
            self.observed
                .gue_ports
                .known()
                .is_some_and(|known| known.contains_key(port))
        };
        let port = port.filter(|port| !is_there(port));
        let why = match &self.observed.gue_ports {
            GuePorts::Failed(error) => format!(": {error}"),
            GuePorts::Unread | GuePorts::Read(_) => String::new(),
        };
        let port = port.map(|port| format!("nothing unwraps GUE on UDP {port}{why}"));
        device.or(port).or_else(|| self.is_loud(vip, before))
    }

    fn lacks_device(self, name: &str, tunnel: &Tunnel, vip: IpAddr) -> Option<String> {
        let observed = self.observed;
        match observed.facts.tunnels.get(name) {
            None => return Some(format!("there is no tunnel device {name}")),
            Some(read) if read.tunnel != *tunnel => return Some(format!("{name} is not {tunnel}")),
            Some(read) if !read.up => return Some(format!("{name} is down")),
            Some(_) => {}
        }
        if !self.holds(vip, name) {
            return Some(format!("{vip} is not on {name}"));
        }
        let knob = Sysctl::on(name, Knob::RpFilter);
        let requirement = self.desired.state.sysctls.get(&knob).filter(|_| vip.is_ipv4())?;
        let drops = self.observed.blind.is_none() && !observed.fulfils(&knob, *requirement);
        drops.then(|| format!("{knob} is not {}", requirement.value()))
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
