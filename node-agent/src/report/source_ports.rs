//! Whether FullNAT comes to the end of its source ports.

use std::net::IpAddr;

use crds::conditions::{Verdict, reason};
use crds::{DirectorPart, ForwardingMethod};

use super::Evidence;
use crate::observed::Towards;

impl Evidence<'_> {
    /// Real servers of this part towards which source ports are low, whichever services use them.
    pub(super) fn source_ports_low(self, part: &DirectorPart) -> Option<Verdict> {
        let by_full_nat = part
            .real_servers
            .iter()
            .filter(|server| match server.forwarding_method {
                ForwardingMethod::FullNAT => true,
                ForwardingMethod::DR | ForwardingMethod::NAT | ForwardingMethod::TUN => false,
            });
        let addresses = by_full_nat.flat_map(|server| &server.addresses);
        let addresses: Vec<IpAddr> = addresses.filter_map(|text| text.parse().ok()).collect();
        let low = self.observed.low_source_ports().into_iter();
        let low = low.filter(|(_, server)| addresses.contains(&server.ip()));
        let low: Vec<String> = low.map(|towards| words(&towards)).collect();
        (!low.is_empty()).then(|| {
            let message = format!(
                "three quarters of FullNAT's source ports towards {} are in use, and without any new connections are dropped: add to fullNAT.sourceAddresses of the DirectorGroup",
                low.join(", ")
            );
            Verdict::yes(reason::FULL_NAT, message)
        })
    }
}

fn words((protocol, server): &Towards) -> String {
    format!("{protocol} {server}")
}
