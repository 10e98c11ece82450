//! What a VirtualService asks of each of its RealServers.

use super::content::some_of;
use super::ways::{forwarding, last_accepted};
use super::{Content, Family, Member, Refusal};
use crate::snapshot::{Key, StoredRealServer};
use crate::view::View;
use crds::conditions::reason;
use crds::{Forwarding, ForwardingMethod, PlacedRealServer, PlacedService, Takes, Tunnel};
use std::collections::BTreeSet;

/// The terms of one VirtualService.
pub(super) struct Terms<'a> {
    vips: BTreeSet<&'a str>,
    pub(super) services: &'a [PlacedService],
    /// How real servers are reached that say nothing themselves; none = as each is placed.
    default: Option<(ForwardingMethod, Option<&'a Tunnel>)>,
}

impl<'a> Terms<'a> {
    /// Of what is accepted.
    pub(super) fn of(content: &'a Content) -> Self {
        Self {
            vips: content.addresses.iter().map(String::as_str).collect(),
            services: &content.services,
            default: Some((content.forwarding_method, content.tunnel.as_ref())),
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
