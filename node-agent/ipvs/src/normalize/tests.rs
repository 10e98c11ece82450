use super::*;
use crate::arbitrary::table;
use crate::diff::diff;
use crate::fake::FakeIpvs;
use crate::table::{Family, ServiceFlags};

use proptest::prelude::*;

proptest! {
    #[test]
    fn what_was_read_back_reads_back_the_same(x in table()) {
        prop_assert_eq!(as_read_back(&x), x);
    }
}

#[test]
fn odd_values_settle_after_one_round() {
    let mut config = ServiceConfig::new("sh", Family::Ipv4);
    config.flags = ServiceFlags::from_bits(0x3);
    config.netmask = Netmask::PrefixLength(24);
    config.persistence_engine = Some(String::new());
    let mut service = Service::new(config);
    let mut destination = DestinationConfig::new(ForwardingMethod::Other(0x103), 1);
    destination.tunnel.kind = TunnelType::Other(2);
    service.destinations.insert("10.0.0.2:80".parse().unwrap(), destination);
    let key = ServiceKey::address(Protocol::Other(6), "172.16.0.9".parse().unwrap(), 80);
    let desired = Table {
        services: [(key, service)].into(),
    };

    let mut kernel = FakeIpvs::new();
    for change in diff(&desired, kernel.table()) {
        kernel.apply(&change).unwrap();
    }
    assert_ne!(kernel.table(), &desired);
    assert_eq!(kernel.table(), &as_read_back(&desired));
}
