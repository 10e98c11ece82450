//! IPVS behind the port. Kernels without it must say so.

use ::ipvs::{Change as Ipvs, DestinationConfig, DestinationKey, Errno, Family, ForwardingMethod, Protocol};
use ::ipvs::{ServiceConfig, ServiceKey};

use super::*;

const SERVICE: ServiceKey = ServiceKey::Address {
    protocol: Protocol::Tcp,
    address: VIP,
    port: 80,
};

fn add_service(scheduler: &str, port: u16) -> Change {
    Change::Ipvs(Ipvs::AddService {
        service: ServiceKey::address(Protocol::Tcp, VIP, port),
        config: ServiceConfig::new(scheduler, Family::Ipv4),
    })
}

fn add_destination(port: u16, method: ForwardingMethod) -> Change {
    Change::Ipvs(Ipvs::AddDestination {
        service: SERVICE,
        destination: DestinationKey::new("10.0.0.2".parse().unwrap(), port),
        config: DestinationConfig::new(method, 1),
    })
}

/// More than two sends; one in the middle of the second is refused, and disturbs none of its neighbours.
#[test]
#[ignore = "needs root, network namespaces and ip_vs"]
fn one_refusal_of_three_hundred_is_attributed_and_disturbs_nobody() {
    let mut linux = namespace();
    let mut changes = vec![add_service("rr", 80)];
    changes.extend((1..300).map(|port| add_destination(port, ForwardingMethod::DirectRouting)));
    changes[200] = add_destination(100, ForwardingMethod::DirectRouting);
    let results = linux.apply(&changes);
    let refused: Vec<_> = results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.is_err())
        .collect();
    let exists = Err(KernelError::Refused { errno: Errno::EEXIST });
    assert_eq!(refused, [(200, &exists)]);
    assert_eq!(linux.destinations(SERVICE).unwrap().len(), 298);
    assert_eq!(linux.service_count(), Ok(1));
}

/// Kernels have given the first network namespace more knobs than others.
#[test]
#[ignore = "needs root, network namespaces and ip_vs"]
fn f26_a_namespace_that_is_not_the_first_has_every_knob_and_keeps_it_to_itself() {
    let mut linux = namespace();
    let peer = Peer::new();
    assert_eq!(linux.apply(&[add_service("rr", 80)]), [Ok(())]);
    assert_eq!(peer.run("ipvsadm -Sn"), "");
    for knob in [Knob::Conntrack, Knob::ExpireQuiescentTemplate] {
        let sysctl = Sysctl::of_node(knob);
        assert_eq!(linux.sysctl(&sysctl), Ok(Some(0)), "{sysctl}");
        let set = Change::SetSysctl {
            sysctl: sysctl.clone(),
            value: 1,
        };
        assert_eq!(linux.apply(&[set]), [Ok(())]);
        assert_eq!(run("sysctl", &format!("-n {sysctl}")), "1\n");
        assert_eq!(peer.run(&format!("sysctl -n {sysctl}")), "0\n");
    }
}

#[test]
#[ignore = "needs root, network namespaces and ip_vs"]
fn a_missing_scheduler_is_named_and_what_is_gone_is_done() {
    let mut linux = namespace();
    let gone = Change::Ipvs(Ipvs::DeleteService { service: SERVICE });
    let changes = [add_service("nosuch", 80), gone, add_service("rr", 81)];
    let scheduler = "nosuch".to_owned();
    let missing = Err(KernelError::SchedulerMissing { scheduler });
    assert_eq!(linux.apply(&changes), [missing, Ok(()), Ok(())]);
    assert_eq!(linux.service(SERVICE), Ok(None));
    assert_eq!(linux.services().unwrap().len(), 1);
}

/// Addresses between IPVS changes: the order of the plan is the order of the kernel.
#[test]
#[ignore = "needs root, network namespaces and ip_vs"]
fn a_mixed_plan_is_applied_in_its_order() {
    let mut linux = namespace();
    let host = config(AddressScope::Host, None);
    let changes = [
        add_service("rr", 80),
        add("lo", host),
        add_destination(80, ForwardingMethod::DirectRouting),
        delete("lo", host),
    ];
    assert_eq!(linux.apply(&changes), [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(linux.destinations(SERVICE).unwrap().len(), 1);
    assert_eq!(ours(&mut linux), BTreeMap::new());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_kernel_without_ipvs_says_so_in_every_way_it_is_asked() {
    let mut linux = namespace();
    let missing = linux.services().err();
    assert!(
        matches!(missing, None | Some(KernelError::ModuleMissing)),
        "{missing:?}"
    );
    assert_eq!(linux.service_count().err(), missing);
    assert_eq!(linux.service(SERVICE).err(), missing);
    let results = linux.apply(&[add_service("rr", 80), add_service("rr", 81)]);
    assert!(
        results.iter().all(|result| result.as_ref().err() == missing.as_ref()),
        "{results:?}"
    );
}
