//! The table, as values for all contenders.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ipvs::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Protocol, Service, ServiceConfig, ServiceKey, Table,
};
use node_agent::view::{Placed, PlacementKey, Source, View};
use serde_json::json;

/// So many services, each on a VIP of its own, with so many destinations.
pub(crate) struct Scenery {
    pub(crate) services: u16,
    pub(crate) destinations: u8,
}

impl Scenery {
    pub(crate) fn new(services: u16, destinations: u8) -> Self {
        Self { services, destinations }
    }

    /// How many entries the table has.
    pub(crate) fn entries(&self) -> usize {
        usize::from(self.services) * (1 + usize::from(self.destinations))
    }

    fn vip(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
    }

    fn server(number: u16, last: u8) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(172, high, low, last + 1))
    }

    pub(crate) fn key(number: u16) -> ServiceKey {
        ServiceKey::address(Protocol::Tcp, Self::vip(number), 80)
    }

    /// The first destination of a service.
    pub(crate) fn destination(number: u16) -> DestinationKey {
        DestinationKey::new(Self::server(number, 0), 80)
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::default();
        for number in 0..self.services {
            let mut service = Service::new(ServiceConfig::new("wlc", Family::Ipv4));
            for last in 0..self.destinations {
                let key = DestinationKey::new(Self::server(number, last), 80);
                let config = DestinationConfig::new(ForwardingMethod::DirectRouting, 1);
                service.destinations.insert(key, config);
            }
            table.services.insert(Self::key(number), service);
        }
        table
    }

    pub(crate) fn placement(number: u16) -> PlacementKey {
        PlacementKey {
            namespace: "bench".to_owned(),
            name: format!("web-{number}"),
        }
    }

    /// A Placement for each service. Its VIP is reserved and its ports are open: then IPVS is all that it needs, as it is
    /// all that ipvsadm programs.
    pub(crate) fn placed(&self, number: u16, weight: i32) -> Result<Placed> {
        let vip = Self::vip(number).to_string();
        let server = |last: u8| {
            let weight = if last == 0 { weight } else { 1 };
            json!({"name": format!("rs{last}"), "addresses": [Self::server(number, last).to_string()],
                "weight": weight, "forwardingMethod": "DR", "prepared": [vip]})
        };
        let spec = json!({
            "subject": {"kind": "VirtualService", "name": format!("web-{number}")},
            "nodeName": "dir1",
            "director": {
                "addresses": [{"address": vip, "addressOwner": "Reserved"}],
                "undeclaredPorts": "Accept",
                "services": [{"protocol": "TCP", "port": 80, "scheduler": "wlc"}],
                "realServers": (0..self.destinations).map(server).collect::<Vec<_>>(),
            },
        });
        Ok(Placed {
            uid: format!("u{number}"),
            generation: weight.into(),
            spec: serde_json::from_value(spec)?,
            not_understood: None,
            down: Default::default(),
            untested: Default::default(),
            serving: Default::default(),
        })
    }

    pub(crate) fn view(&self) -> Result<View> {
        let each = (0..self.services).map(|number| Ok((Self::placement(number), self.placed(number, 1)?)));
        Ok(View {
            source: Source::Api,
            placements: each.collect::<Result<_>>()?,
        })
    }
}
