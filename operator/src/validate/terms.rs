//! What a VirtualService asks of each of its RealServers.

use super::content::some_of;
use super::ways::{forwarding, last_accepted};
use super::{Content, Family, Member, Refusal};
use crate::snapshot::{Key, StoredRealServer};
use crate::view::View;
use crds::conditions::reason;
use crds::{
    Forwarding, ForwardingMethod, HealthCheck, OnFailure, PlacedRealServer, PlacedService, Scheduler, Takes, Through,
    Tunnel,
};
use std::collections::BTreeSet;

/// The terms of one VirtualService.
pub(super) struct Terms<'a> {
    vips: BTreeSet<&'a str>,
    pub(super) services: &'a [PlacedService],
    /// How real servers are reached that say nothing themselves; none = as each is placed.
    default: Option<(ForwardingMethod, Option<&'a Tunnel>)>,
    /// For real servers without checks of their own.
    checks: &'a [HealthCheck],
    sorry: Sorry<'a>,
}

/// Who is the sorry server.
enum Sorry<'a> {
    /// The one of this name.
    Named(Option<&'a str>),
    /// Whoever is placed so.
    AsPlaced,
}

impl<'a> Terms<'a> {
    /// Of what is accepted.
    pub(super) fn of(content: &'a Content) -> Self {
        Self {
            vips: content.addresses.iter().map(String::as_str).collect(),
            services: &content.services,
            default: Some((content.forwarding_method, content.tunnel.as_ref())),
            checks: &content.availability.health_checks,
            sorry: Sorry::Named(content.sorry.as_deref()),
        }
    }

    /// Of what is placed.
    pub(super) fn placed(view: &View<'a>, subject: &Key) -> Self {
        let parts = view.placements(subject).iter();
        let parts: Vec<_> = parts.filter_map(|placement| placement.spec.director.as_ref()).collect();
        let entries = parts.iter().flat_map(|part| &part.addresses);
        Self {
            vips: entries.map(|entry| entry.address.as_str()).collect(),
            services: parts.first().map_or(&[], |part| &part.services),
            default: None,
            checks: parts.first().map_or(&[], |part| &part.health_checks),
            sorry: Sorry::AsPlaced,
        }
    }

    /// Whether this real server is the sorry server; that goes before what a selector says of it.
    pub(super) fn is_sorry(&self, name: &str, listed: Option<&PlacedRealServer>) -> bool {
        match self.sorry {
            Sorry::Named(sorry) => sorry == Some(name),
            Sorry::AsPlaced => listed.is_some_and(|listed| listed.sorry),
        }
    }

    /// How this real server is reached.
    pub(super) fn way(&self, stored: &StoredRealServer, listed: Option<&PlacedRealServer>) -> Forwarding {
        let spec = &stored.spec;
        let default = match (self.default, listed) {
            (Some((method, tunnel)), _) => forwarding(method, tunnel),
            (None, Some(listed)) => last_accepted(listed),
            (None, None) => Forwarding::default(),
        };
        let tunnel = spec.tunnel.as_ref().or(default.tunnel.as_ref());
        forwarding(spec.forwarding_method.unwrap_or(default.forwarding_method), tunnel)
    }

    /// The rules on a real server that only its service can tell.
    pub(super) fn admit(&self, member: &Member) -> Result<(), Refusal> {
        let method = method_name(member.way.forwarding_method);
        let translates = member.way.forwarding_method.translates_ports();
        self.has_a_family(member)?;
        self.can_be_checked(member)?;
        self.can_be_reached(member)?;
        if translates && self.services.iter().any(|service| service.one_packet) {
            return refuse(format!(
                "onePacket goes with DR or TUN, and this real server is reached by {method}: change one of them"
            ));
        }
        let differing = self.services.iter().find(|service| service.target_port.is_some());
        if let Some(service) = differing.filter(|_| !translates) {
            return refuse(format!(
                "{method} cannot translate port {} to targetPort {}: use NAT or FullNAT for it, or remove targetPort",
                service.port.unwrap_or_default(),
                service.target_port.unwrap_or_default()
            ));
        }
        let Some(port) = member.port else {
            return Ok(());
        };
        match self.services {
            [service] if matches!(service.takes(), Takes::Port { port: 1.., .. }) => {
                if translates || service.port == Some(port) {
                    return Ok(());
                }
                refuse(format!(
                    "{method} cannot translate to port {port}: remove port, or use NAT or FullNAT"
                ))
            }
            _ => refuse(format!(
                "port {port} is meant for services of one port, and this one has several, or keeps ports: remove port, or \
                 select this real server by a service of its own"
            )),
        }
    }

    /// What the schema says of a service's own checks, for those of a real server. A sorry server's are never made.
    fn can_be_checked(&self, member: &Member) -> Result<(), Refusal> {
        let own = member.health_checks.as_deref().filter(|_| !member.sorry);
        let checks = own.unwrap_or_default();
        let has_one_port = |service: &PlacedService| matches!(service.takes(), Takes::Port { port: 1.., .. });
        let is_portless = |check: &HealthCheck| check.probes_a_port() && check.port.is_none();
        if checks.iter().any(is_portless) && !self.services.iter().all(has_one_port) {
            return refuse(
                "healthChecks: this service has every port, or a mark, and no one port to probe: name the port of each check"
                    .to_owned(),
            );
        }
        let quiesces = |check: &HealthCheck| check.on_failure == Some(OnFailure::Quiesce);
        if checks.iter().any(quiesces) && self.services.iter().any(|service| service.scheduler == Scheduler::Dh) {
            return refuse(
                "healthChecks: dh has no fallback, and with onFailure Quiesce it would refuse the clients of a real server that is down: use Remove"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Whether the checks go by a way that there is: those of the service may have been meant for real servers of another
    /// method. A sorry server's are never made.
    fn can_be_reached(&self, member: &Member) -> Result<(), Refusal> {
        let method = member.way.forwarding_method;
        let mut checks = member.health_checks.as_deref().unwrap_or(self.checks).iter();
        if !member.sorry
            && !method.is_host_prepared()
            && checks.any(|check| check.through == Some(Through::ForwardingPath))
        {
            return refuse(format!(
                "healthChecks: through: ForwardingPath is for DR and TUN, and this real server is reached by {}: give it healthChecks of its own, without through",
                method_name(method)
            ));
        }
        Ok(())
    }

    fn has_a_family(&self, member: &Member) -> Result<(), Refusal> {
        if self.vips.is_empty() || self.vips.iter().any(|vip| member.serves(vip)) {
            return Ok(());
        }
        let vips: Vec<String> = self.vips.iter().map(|vip| (*vip).to_owned()).collect();
        let family = vips.first().map_or(Family::IPv4, |vip| Family::of(vip));
        refuse(format!(
            "no {family} address, and {} needs one for the VIPs of this service ({}): add one to addresses",
            method_name(member.way.forwarding_method),
            some_of(&vips)
        ))
    }
}

fn refuse(message: String) -> Result<(), Refusal> {
    Err(Refusal::new(reason::INVALID, message))
}

/// As in the API.
fn method_name(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::DR => "DR",
        ForwardingMethod::NAT => "NAT",
        ForwardingMethod::TUN => "TUN",
        ForwardingMethod::FullNAT => "FullNAT",
    }
}
