use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::kernel::Kernel as _;
use crate::kernel::KernelError;
use crate::plan::Change;
use crate::state::AddressConfig;
use ipvs::{Family, Protocol, ServiceConfig};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 56, 100));
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 10);

fn key(interface: &str) -> AddressKey {
    AddressKey {
        interface: interface.to_owned(),
        address: VIP,
    }
}

fn config(scope: AddressScope) -> AddressConfig {
    AddressConfig {
        prefix_length: 32,
        scope,
        lifetime: None,
    }
}

fn add(interface: &str, scope: AddressScope) -> Change {
    Change::AddAddress {
        key: key(interface),
        config: config(scope),
    }
}

fn add_service(scheduler: &str) -> Change {
    Change::Ipvs(ipvs::Change::AddService {
        service: ServiceKey::address(Protocol::Tcp, VIP, 80),
        config: ServiceConfig::new(scheduler, Family::Ipv4),
    })
}

fn silence(interface: &str) -> Change {
    Change::SetSysctl {
        sysctl: Sysctl::on(interface, Knob::ArpIgnore),
        value: 1,
    }
}

#[test]
fn a_vip_on_lo_answers_arp_until_the_receiving_interface_ignores_it() {
    let mut kernel = FakeKernel::with_node_address(NODE);
    kernel.apply(&[add("lo", AddressScope::Host), silence("lo")]);
    assert!(kernel.answers_arp(VIP));
    assert!(!kernel.holds(VIP));
    kernel.apply(&[silence("eth0")]);
    assert!(!kernel.answers_arp(VIP));
    assert!(kernel.answers_arp(NODE.into()));
}

#[test]
fn an_address_that_is_ours_may_be_added_again_and_a_foreign_one_may_not() {
    let mut kernel = FakeKernel::with_node_address(NODE);
    let added = [add("lo", AddressScope::Host), add("lo", AddressScope::Host)];
    assert_eq!(kernel.apply(&added), [Ok(()), Ok(())]);
    kernel.add_foreign_address("eth0", VIP, 32);
    let refused = Err(KernelError::Refused { errno: Errno::EEXIST });
    let results = kernel.apply(&[add("eth0", AddressScope::Global), add("lo", AddressScope::Global)]);
    assert_eq!(results, [refused.clone(), refused]);
}

#[test]
fn addresses_are_ours_by_their_mark() {
    let mut kernel = FakeKernel::with_node_address(NODE);
    kernel.apply(&[add("lo", AddressScope::Host)]);
    let (ours, facts) = kernel.network().unwrap();
    assert_eq!(
        ours.into_iter().collect::<Vec<_>>(),
        [(key("lo"), config(AddressScope::Host))]
    );
    assert_eq!(
        facts.foreign_addresses.into_iter().collect::<Vec<_>>(),
        [(NODE.into(), "eth0".to_owned())]
    );
    assert!(facts.interfaces["eth0"].addressed);
    assert!(!facts.interfaces["lo"].addressed);
}

#[test]
fn deletions_of_what_is_gone_are_done() {
    let mut kernel = FakeKernel::new();
    let delete = |interface| Change::DeleteAddress {
        key: key(interface),
        config: config(AddressScope::Host),
    };
    let service = ServiceKey::address(Protocol::Tcp, VIP, 80);
    let delete_service = Change::Ipvs(ipvs::Change::DeleteService { service });
    assert_eq!(
        kernel.apply(&[delete("lo"), delete("gone"), delete_service]),
        [Ok(()), Ok(()), Ok(())]
    );
}

#[test]
fn a_missing_module_and_a_missing_scheduler_are_told_apart() {
    let mut kernel = FakeKernel::new();
    let scheduler = "maglev".to_owned();
    assert_eq!(
        kernel.apply(&[add_service("maglev")]),
        [Err(KernelError::SchedulerMissing { scheduler })]
    );
    kernel.set_module_missing(true);
    assert_eq!(kernel.apply(&[add_service("rr")]), [Err(KernelError::ModuleMissing)]);
    assert_eq!(kernel.services(), Err(KernelError::ModuleMissing));
}

#[test]
fn a_dead_process_changes_nothing_and_leaves_what_it_did() {
    let mut kernel = FakeKernel::with_node_address(NODE);
    kernel.crash_after(Some(1));
    let results = kernel.apply(&[silence("eth0"), add("lo", AddressScope::Host)]);
    assert_eq!(results[0], Ok(()));
    assert!(results[1].is_err());
    assert!(kernel.network().is_err());
    kernel.crash_after(None);
    assert_eq!(kernel.effective("eth0", Knob::ArpIgnore), 1);
    assert!(!kernel.is_local(VIP));
    assert_eq!(kernel.log(), ["sysctl -w net.ipv4.conf.eth0.arp_ignore=1"]);
}

#[test]
fn a_lost_answer_is_unknown_and_the_change_is_made() {
    let mut kernel = FakeKernel::new();
    kernel.lose_answers(1);
    assert_eq!(kernel.apply(&[add_service("rr")]), [Err(KernelError::Unknown)]);
    assert_eq!(kernel.service_count(), Ok(1));
}

#[test]
fn a_reboot_leaves_what_the_host_sets_at_boot() {
    let mut kernel = FakeKernel::with_node_address(NODE);
    let boot = Sysctl::of_all(Knob::ArpAnnounce);
    kernel.set_boot_sysctl(boot.clone(), 2);
    kernel.apply(&[silence("eth0"), add("lo", AddressScope::Host), add_service("rr")]);
    kernel.reboot();
    assert_eq!(kernel.sysctl(&boot), Ok(Some(2)));
    assert_eq!(kernel.effective("eth0", Knob::ArpIgnore), 0);
    assert!(!kernel.is_local(VIP) && kernel.holds(NODE.into()));
    assert_eq!(kernel.service_count(), Ok(0));
}

#[test]
fn a_dump_may_miss_what_a_look_up_finds() {
    let mut kernel = FakeKernel::new();
    let service = ServiceKey::address(Protocol::Tcp, VIP, 80);
    kernel.apply(&[add_service("rr")]);
    kernel.hide_in_dumps([service]);
    assert!(kernel.services().unwrap().is_empty());
    assert!(kernel.service(service).unwrap().is_some());
}
