use super::*;
use crate::ledger::Ledger;
use crate::observed::Ipvs;
use crate::plan::{Absence, plan};
use expect_test::expect;
use ipvs::{DestinationConfig, DestinationKey, Family, ForwardingMethod, Protocol, Table};
use std::net::IpAddr;

fn key(port: u16) -> ServiceKey {
    ServiceKey::address(Protocol::Tcp, "192.168.56.100".parse().unwrap(), port)
}

fn service(scheduler: &str, destinations: u8) -> Service {
    let mut service = Service::new(ServiceConfig::new(scheduler, Family::Ipv4));
    for last in 1..=destinations {
        let destination = DestinationKey::new(IpAddr::from([10, 0, 0, last]), 80);
        let config = DestinationConfig::new(ForwardingMethod::DirectRouting, 1);
        service.destinations.insert(destination, config);
    }
    service
}

fn changes(services: impl IntoIterator<Item = (ServiceKey, Service)>, observed: &Observed) -> String {
    let mut desired = KernelState::default();
    desired.ipvs.services.extend(services);
    let ledger = Ledger {
        services: desired.ipvs.services.keys().copied().collect(),
        claimed: true,
        ..Ledger::default()
    };
    plan(&desired, observed, &ledger, &Absence::IsBelieved).to_string()
}

fn empty() -> Observed {
    Observed {
        ipvs: Ipvs::Read(Table::default()),
        ..Observed::default()
    }
}

#[test]
fn what_a_flush_took_comes_back_in_the_reverse_of_the_kernels_order_and_the_new_behind_it() {
    let mut observed = empty();
    let services = [key(80), key(81), key(82)].map(|key| (key, service("rr", 2)));
    let dumped = [key(81), key(80)].map(|key| (key, ServiceConfig::new("rr", Family::Ipv4)));
    observed.remember_order(&dumped, &services.iter().map(|(key, _)| *key).collect());
    observed.remember_order(&[], &services.iter().map(|(key, _)| *key).collect());
    expect![[r#"
        ipvsadm -A -t 192.168.56.100:80 -s rr
        ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.1:80 -g -w 1
        ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.2:80 -g -w 1
        ipvsadm -A -t 192.168.56.100:81 -s rr
        ipvsadm -a -t 192.168.56.100:81 -r 10.0.0.1:80 -g -w 1
        ipvsadm -a -t 192.168.56.100:81 -r 10.0.0.2:80 -g -w 1
        ipvsadm -A -t 192.168.56.100:82 -s rr
        ipvsadm -a -t 192.168.56.100:82 -r 10.0.0.1:80 -g -w 1
        ipvsadm -a -t 192.168.56.100:82 -r 10.0.0.2:80 -g -w 1
    "#]]
    .assert_eq(&changes(services, &observed));
}

#[test]
fn a_new_mh_service_that_nobody_reaches_builds_its_table_once() {
    let lines = changes([(key(80), service("mh", 8))], &empty());
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.first(), Some(&"ipvsadm -A -t 192.168.56.100:80 -s rr"));
    assert_eq!(lines.last(), Some(&"ipvsadm -E -t 192.168.56.100:80 -s mh"));
    let small = changes([(key(80), service("mh", 2))], &empty());
    assert!(small.starts_with("ipvsadm -A -t 192.168.56.100:80 -s mh"), "{small}");
}

#[test]
fn an_mh_service_whose_vip_is_held_is_never_another_ones() {
    let mut observed = empty();
    let held = crate::state::AddressKey {
        interface: "eth0".to_owned(),
        address: "192.168.56.100".parse().unwrap(),
    };
    let config = crate::state::AddressConfig {
        prefix_length: 32,
        scope: crate::state::AddressScope::Global,
        lifetime: None,
    };
    observed.addresses.insert(held, config);
    let lines = changes([(key(80), service("mh", 8))], &observed);
    assert!(
        lines.contains("-A -t 192.168.56.100:80 -s mh") && !lines.contains("-E"),
        "{lines}"
    );
}
