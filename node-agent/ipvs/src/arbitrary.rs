//! Random tables for the property tests: a small universe of keys, so that tables overlap.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;

use crate::table::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn service_key() -> impl Strategy<Value = ServiceKey> {
    select(vec![
        ServiceKey::address(Protocol::Tcp, address("192.168.56.100"), 80),
        ServiceKey::address(Protocol::Udp, address("192.168.56.100"), 53),
        ServiceKey::address(Protocol::Sctp, address("10.0.0.9"), 0),
        ServiceKey::address(Protocol::Tcp, address("fd56::100"), 443),
        ServiceKey::firewall_mark(Family::Ipv4, 7).unwrap(),
        ServiceKey::firewall_mark(Family::Ipv6, u32::MAX).unwrap(),
    ])
}

fn destination_key(family: Family) -> impl Strategy<Value = DestinationKey> {
    let addresses = match family {
        Family::Ipv4 => ["192.168.56.11", "192.168.56.12"],
        Family::Ipv6 => ["fd56::11", "fd56::12"],
    };
    (select(addresses.map(address).to_vec()), select(vec![80, 8080]))
        .prop_map(|(address, port)| DestinationKey::new(address, port))
}

fn service_config(family: Family) -> impl Strategy<Value = ServiceConfig> {
    let netmask = match family {
        Family::Ipv4 => vec![Netmask::full(family), Netmask::Mask([255, 255, 0, 255].into())],
        Family::Ipv6 => vec![Netmask::full(family), Netmask::PrefixLength(64)],
    };
    (
        select(vec!["rr", "wlc", "sh", "mh"]),
        (0u32..64).prop_map(ServiceFlags::from_bits),
        select(vec![0, 1, 300, 2_678_401]),
        select(netmask),
        select(vec![None, Some("sip".to_owned())]),
    )
        .prop_map(
            |(scheduler, flags, timeout_seconds, netmask, persistence_engine)| ServiceConfig {
                scheduler: scheduler.into(),
                flags,
                timeout_seconds,
                netmask,
                persistence_engine,
            },
        )
}

fn destination_config() -> impl Strategy<Value = DestinationConfig> {
    let tunnel = |kind, port, flags| Tunnel {
        kind,
        port,
        flags: TunnelFlags(flags),
    };
    (
        select(vec![
            ForwardingMethod::Masquerade,
            ForwardingMethod::Tunnel,
            ForwardingMethod::DirectRouting,
        ]),
        select(vec![0, 1, 100, 0x7fff_ffff]),
        select(vec![(0, 0), (5, 0), (5, 5), (0x0102_0304, 3)]),
        select(vec![
            tunnel(TunnelType::Ipip, 0, 0),
            tunnel(TunnelType::Gue, 0x1234, 2),
            tunnel(TunnelType::Gre, 0, 1),
        ]),
    )
        .prop_map(
            |(method, weight, (upper_threshold, lower_threshold), tunnel)| DestinationConfig {
                method,
                weight,
                upper_threshold,
                lower_threshold,
                tunnel,
            },
        )
}

pub(crate) fn service(family: Family) -> impl Strategy<Value = Service> {
    (
        service_config(family),
        btree_map(destination_key(family), destination_config(), 0..4),
    )
        .prop_map(|(config, destinations)| Service { config, destinations })
}

/// A table that every kernel with the usual schedulers and the engine `sip` takes.
pub(crate) fn table() -> impl Strategy<Value = Table> {
    proptest::collection::vec(service_key(), 0..5).prop_flat_map(|keys| {
        let services = keys.into_iter().map(|key| (Just(key), service(key.family())));
        services.collect::<Vec<_>>().prop_map(|services| Table {
            services: services.into_iter().collect::<BTreeMap<_, _>>(),
        })
    })
}
