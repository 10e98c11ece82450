//! Whole passes over a kernel that interprets: what a node does for its Placements, and after somebody interfered.

use super::*;
use crate::kernel::fake::FakeKernel;
use crate::state::{Interface, Knob, Sysctl};
use crate::view::Placed;
use crds::conditions::{PROGRAMMED, find};
use crds::{DestinationState, PlacementSpec, Role};
use expect_test::{Expect, expect};
use ipvs::{DestinationKey, Errno, ServiceKey};

mod leaving;
mod methods;
mod narrow;
mod path;
mod tunnels;

mod ruleset;

const VIP: &str = "192.168.56.100";

const DIRECTOR: &str = "
subject: {kind: VirtualService, name: web}
nodeName: dir1
director:
  addresses: [{address: 192.168.56.100, addressOwner: Node}]
  services: [{protocol: TCP, port: 80, scheduler: rr}]
  realServers:
  - {name: rs1, nodeName: rs1, addresses: [192.168.56.30], weight: 1, forwardingMethod: DR, prepared: [192.168.56.100]}
  - {name: rs2, addresses: [192.168.56.40], weight: 3, forwardingMethod: DR, prepared: [192.168.56.100]}
";

const HOST: &str = "
subject: {kind: VirtualService, name: web}
nodeName: rs1
realServer:
  addresses: [{address: 192.168.56.100}]
  realServers: [{name: rs1, addresses: [192.168.56.30], forwardingMethod: DR}]
";

type TestNode = Node<FakeKernel, Vec<Entry>>;

fn key() -> PlacementKey {
    PlacementKey {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    }
}

/// The VIPs for which the host says that its first real server is prepared.
fn prepared(outcome: &Outcome) -> Vec<String> {
    let report = status(outcome).real_server.as_ref().unwrap();
    report.real_servers[0].prepared.clone()
}

fn view(source: Source, generation: i64, spec: &str) -> View {
    let spec: PlacementSpec = serde_yaml::from_str(spec).unwrap();
    let placed = Placed {
        uid: "u".to_owned(),
        generation,
        spec,
        not_understood: None,
        down: Default::default(),
        untested: Default::default(),
        serving: Default::default(),
    };
    View {
        source,
        placements: [(key(), placed)].into(),
    }
}

fn api(spec: &str) -> View {
    view(Source::Api, 1, spec)
}

fn nothing() -> View {
    View {
        source: Source::Api,
        ..View::default()
    }
}

fn node() -> TestNode {
    on(
        FakeKernel::with_node_address("192.168.56.10".parse().unwrap()),
        Vec::new(),
    )
}

fn on(kernel: FakeKernel, journal: Vec<Entry>) -> TestNode {
    let ledger = Ledger::from_entries(&journal);
    Node::new(kernel, journal, ledger, "boot-1".to_owned())
}

fn restarted(node: TestNode) -> TestNode {
    let (kernel, journal) = node.into_parts();
    on(kernel, journal)
}

fn pass(node: &mut TestNode, view: &View) -> Outcome {
    node.see(view.clone());
    node.pass(Now::default()).unwrap()
}

fn check(changes: &[Change], expect: &Expect) {
    let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
    expect.assert_eq(&lines.concat());
}

fn status(outcome: &Outcome) -> &PlacementStatus {
    &outcome.statuses[&key()]
}

fn programmed(outcome: &Outcome) -> (&str, &str, &str) {
    let condition = find(&status(outcome).conditions, PROGRAMMED).unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

fn service() -> ServiceKey {
    "TCP 192.168.56.100:80".to_owned().try_into().unwrap()
}

#[test]
fn f39_a_director_programs_ipvs_before_the_vip_and_announces_last() {
    let mut node = node();
    let outcome = pass(&mut node, &api(DIRECTOR));
    check(
        &outcome.done,
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
            ipvsadm -A -t 192.168.56.100:80 -s rr
            ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 1
            ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.40:80 -g -w 3
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
    assert_eq!(programmed(&outcome).0, "True");
    let report = status(&outcome).director.as_ref().unwrap();
    assert_eq!(
        (report.addresses[0].address.as_str(), report.addresses[0].role),
        (VIP, Role::Active)
    );
    assert!(
        report
            .real_servers
            .iter()
            .all(|server| server.state == DestinationState::Serving)
    );
}

#[test]
fn f24_a_host_is_silent_before_it_has_the_vip() {
    let mut node = node();
    let outcome = pass(&mut node, &api(HOST));
    check(
        &outcome.done,
        &expect![[r#"
            sysctl -w net.ipv4.conf.eth0.arp_ignore=1
            sysctl -w net.ipv4.conf.eth0.arp_announce=2
            ip address add 192.168.56.100/32 dev lo scope host proto 77
        "#]],
    );
    let report = status(&outcome).real_server.as_ref().unwrap();
    assert_eq!(report.real_servers[0].prepared, [VIP]);
    assert!(!node.kernel().answers_arp(VIP.parse().unwrap()));
}

#[test]
fn f12_f25_a_host_that_cannot_be_silenced_does_not_get_the_vip() {
    let mut node = node();
    node.kernel().set_read_only_sysctls(true);
    let outcome = pass(&mut node, &api(HOST));
    assert_eq!(outcome.done, []);
    assert!(!node.kernel().is_local(VIP.parse().unwrap()));
    assert_eq!(prepared(&outcome), [""; 0]);
    assert_eq!(programmed(&outcome).0, "False");
}

#[test]
fn a_host_whose_sysctls_cannot_be_read_says_so_and_does_not_get_the_vip() {
    let mut node = node();
    node.kernel().set_lost_sysctls(true);
    let outcome = pass(&mut node, &api(HOST));
    assert_eq!(outcome.done, []);
    assert!(outcome.unfinished);
    assert_eq!(prepared(&outcome), [""; 0]);
    let (said, _, message) = programmed(&outcome);
    assert_eq!(said, "False");
    assert!(message.contains("No such file"), "{message}");
    node.kernel().set_lost_sysctls(false);
    assert_eq!(prepared(&pass(&mut node, &api(HOST))), [VIP]);
    let ledger = node.ledger.clone();
    node.kernel().set_lost_sysctls(true);
    node.network_changed();
    assert_eq!(
        prepared(&pass(&mut node, &api(HOST))),
        [VIP],
        "what was proven is not refuted"
    );
    let mut node = restarted(node);
    node.said(&key(), status(&outcome));
    pass(
        &mut node,
        &View {
            source: Source::Api,
            ..View::default()
        },
    );
    assert_eq!(
        node.ledger.sysctls, ledger.sysctls,
        "what is to be given back is not forgotten"
    );
    node.kernel().set_lost_sysctls(false);
    pass(
        &mut node,
        &View {
            source: Source::Api,
            ..View::default()
        },
    );
    assert_eq!(node.ledger.sysctls, [].into());
    assert!(!node.kernel().is_local(VIP.parse().unwrap()));
}

#[test]
fn a_director_needs_no_sysctls() {
    let mut node = node();
    node.kernel().set_lost_sysctls(true);
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert_eq!(programmed(&outcome).0, "True");
    assert!(!outcome.unfinished);
}

#[test]
fn a_second_pass_changes_nothing() {
    for spec in [DIRECTOR, HOST] {
        let mut node = node();
        pass(&mut node, &api(spec));
        let writes = node.kernel().writes();
        let outcome = pass(&mut node, &api(spec));
        assert!(!outcome.unfinished);
        assert_eq!(node.kernel().writes(), writes);
    }
}

#[test]
fn an_agent_restarted_on_an_unchanged_world_writes_nothing() {
    for spec in [DIRECTOR, HOST] {
        for source in [Source::Api, Source::Disk] {
            let mut first = node();
            pass(&mut first, &api(spec));
            let mut second = restarted(first);
            let writes = second.kernel().writes();
            let outcome = pass(&mut second, &view(source, 1, spec));
            assert_eq!((outcome.done.len(), second.kernel().writes()), (0, writes));
            assert_eq!(programmed(&outcome).0, "True");
        }
    }
}

#[test]
fn f10_what_was_set_is_given_back() {
    for spec in [DIRECTOR, HOST] {
        let kernel = FakeKernel::with_node_address("192.168.56.10".parse().unwrap());
        let mut node = on(kernel.clone(), Vec::new());
        pass(&mut node, &api(spec));
        let outcome = pass(&mut node, &nothing());
        assert!(!outcome.unfinished);
        let left = pass(&mut node, &nothing());
        assert_eq!(left.done, []);
        let knob = Sysctl::on("eth0", Knob::ArpIgnore);
        assert_eq!(node.observed().sysctls.get(&knob).copied().flatten().unwrap_or(0), 0);
        let mut left = node.kernel().clone();
        assert_eq!(left.sysctl(&knob), Ok(Some(0)));
        assert!(node.observed().addresses.is_empty());
        assert!(node.ledger.is_empty());
        assert!(node.kernel().ipvs().table().services.is_empty());
    }
}

#[test]
fn going_down_is_going_up_in_reverse() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    check(
        &pass(&mut node, &nothing()).done,
        &expect![[r#"
            ip address del 192.168.56.100/32 dev eth0
            ipvsadm -D -t 192.168.56.100:80
            nft delete table inet lvs_operator
        "#]],
    );
    let mut node = self::node();
    pass(&mut node, &api(HOST));
    check(
        &pass(&mut node, &nothing()).done,
        &expect![[r#"
            ip address del 192.168.56.100/32 dev lo
            sysctl -w net.ipv4.conf.eth0.arp_announce=0
            sysctl -w net.ipv4.conf.eth0.arp_ignore=0
        "#]],
    );
}

#[test]
fn a_weight_is_one_message() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let outcome = pass(
        &mut node,
        &view(Source::Api, 2, &DIRECTOR.replace("weight: 3", "weight: 5")),
    );
    check(
        &outcome.done,
        &expect![[r#"
            ipvsadm -e -t 192.168.56.100:80 -r 192.168.56.40:80 -g -w 5
        "#]],
    );
    assert_eq!(status(&outcome).observed_generation, Some(2));
}

#[test]
fn a_scheduler_is_edited_in_place() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let outcome = pass(&mut node, &api(&DIRECTOR.replace("scheduler: rr", "scheduler: wlc")));
    check(
        &outcome.done,
        &expect![[r#"
            ipvsadm -E -t 192.168.56.100:80 -s wlc
        "#]],
    );
}

#[test]
fn a_reserved_address_is_programmed_without_the_vip() {
    let mut node = node();
    let outcome = pass(
        &mut node,
        &api(&DIRECTOR.replace("addressOwner: Node", "addressOwner: Reserved")),
    );
    assert!(!node.kernel().holds(VIP.parse().unwrap()));
    assert_eq!(
        status(&outcome).director.as_ref().unwrap().addresses[0].role,
        Role::Backup
    );
    check(
        &pass(&mut node, &api(DIRECTOR)).done,
        &expect![[r#"
            ip address add 192.168.56.100/32 dev eth0 proto 77
            arping -U -c 1 -I eth0 192.168.56.100
        "#]],
    );
}

#[test]
fn an_unprepared_real_server_is_not_in_the_table_at_all() {
    let mut node = node();
    let outcome = pass(
        &mut node,
        &api(&DIRECTOR.replacen("prepared: [192.168.56.100]", "prepared: []", 1)),
    );
    let table = node.kernel().ipvs().table().clone();
    assert_eq!(table.services[&service()].destinations.len(), 1);
    let states: Vec<_> = status(&outcome)
        .director
        .as_ref()
        .unwrap()
        .real_servers
        .iter()
        .map(|server| server.state)
        .collect();
    assert_eq!(states, [DestinationState::Unprepared, DestinationState::Serving]);
}

#[test]
fn f11_foreign_services_survive_everything() {
    let mut node = node();
    let foreign = "-A -t 203.0.113.9:443 -s wlc\n-a -t 203.0.113.9:443 -r 203.0.113.10:443 -m -w 7\n";
    node.kernel().ipvs_mut().overwrite(foreign.parse().unwrap());
    pass(&mut node, &api(DIRECTOR));
    pass(&mut node, &nothing());
    assert_eq!(node.kernel().ipvs().table().to_string(), foreign);
}

#[test]
fn a_foreign_service_on_our_vip_and_port_is_reported_and_not_overwritten() {
    let mut node = node();
    pass(&mut node, &nothing());
    let foreign = "-A -t 192.168.56.100:80 -s wlc\n";
    node.kernel().ipvs_mut().overwrite(foreign.parse().unwrap());
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert_eq!(node.kernel().ipvs().table().to_string(), foreign);
    assert_eq!(programmed(&outcome).1, "ForeignEntry");
    assert!(!node.kernel().holds(VIP.parse().unwrap()));
}

#[test]
fn with_the_ledger_lost_what_is_on_our_vip_is_ours() {
    let mut first = node();
    pass(&mut first, &api(DIRECTOR));
    let (kernel, _) = first.into_parts();
    let mut second = on(kernel, Vec::new());
    pass(&mut second, &api(&DIRECTOR.replace("port: 80", "port: 81")));
    let services: Vec<String> = second
        .kernel()
        .ipvs()
        .table()
        .services
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(services, ["TCP 192.168.56.100:81"]);
}

#[test]
fn a_flush_is_noticed_by_the_cheap_look_and_repaired() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    assert!(!node.ipvs_differs());
    node.kernel().ipvs_mut().overwrite(ipvs::Table::default());
    assert!(node.ipvs_differs());
    assert_eq!(pass(&mut node, &api(DIRECTOR)).done.len(), 3);
    assert!(!node.ipvs_differs());
}

#[test]
fn a_flush_is_noticed_also_when_as_many_strangers_follow() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let stranger = ServiceKey::address(ipvs::Protocol::Tcp, "192.168.56.10".parse().unwrap(), 8080);
    let config = ipvs::ServiceConfig::new("rr", ipvs::Family::Ipv4);
    let table = node.kernel().ipvs_mut();
    table.overwrite(ipvs::Table::default());
    let add = ipvs::Change::AddService {
        service: stranger,
        config,
    };
    table.apply(&add).unwrap();
    assert!(node.ipvs_differs());
    assert_eq!(pass(&mut node, &api(DIRECTOR)).done.len(), 3);
    assert!(!node.ipvs_differs());
}

#[test]
fn a_round_of_the_audit_lasts_as_many_slices_as_it_is_told_also_with_one_service() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let drift = |node: &mut Node<FakeKernel, Vec<Entry>>| {
        let gone = ipvs::Change::DeleteDestination {
            service: service(),
            destination: DestinationKey::new("192.168.56.30".parse().unwrap(), 80),
        };
        node.kernel().ipvs_mut().apply(&gone).unwrap();
    };
    assert!(!node.audit(3));
    drift(&mut node);
    assert_eq!([node.audit(3), node.audit(3), node.audit(3)], [false, false, true]);
}

#[test]
fn drift_of_an_entry_an_address_and_a_sysctl_is_found_by_the_audit() {
    let mut director = node();
    pass(&mut director, &api(DIRECTOR));
    let gone = ipvs::Change::DeleteDestination {
        service: service(),
        destination: DestinationKey::new("192.168.56.30".parse().unwrap(), 80),
    };
    director.kernel().ipvs_mut().apply(&gone).unwrap();
    assert!(director.audit(1));
    assert_eq!(pass(&mut director, &api(DIRECTOR)).done.len(), 1);
    let mut host = node();
    pass(&mut host, &api(HOST));
    host.kernel().set_sysctl(Sysctl::on("eth0", Knob::ArpIgnore), 0);
    host.kernel().remove_address("lo", VIP.parse().unwrap());
    assert!(host.audit(1));
    assert_eq!(pass(&mut host, &api(HOST)).done.len(), 2);
    assert!(!host.audit(1));
}

#[test]
fn f31_an_entry_that_a_dump_misses_is_not_taken_for_gone() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    node.kernel().hide_in_dumps([service()]);
    let mut node = restarted(node);
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert_eq!(outcome.done, []);
    assert_eq!(programmed(&outcome).0, "True");
}

#[test]
fn nothing_is_deleted_because_it_is_absent_from_what_is_only_remembered() {
    for spec in [DIRECTOR, HOST] {
        let mut first = node();
        pass(&mut first, &api(spec));
        let mut second = restarted(first);
        let empty = View {
            source: Source::Disk,
            ..View::default()
        };
        assert_eq!(pass(&mut second, &empty).done, []);
        assert!(second.kernel().is_local(VIP.parse().unwrap()));
    }
}

#[test]
fn after_a_boot_a_remembered_vip_that_somebody_answers_for_is_not_added() {
    let mut node = node();
    node.kernel().set_answered([VIP.parse().unwrap()]);
    let remembered = view(Source::Disk, 1, DIRECTOR);
    let outcome = pass(&mut node, &remembered);
    assert!(!node.kernel().holds(VIP.parse().unwrap()));
    assert_eq!(programmed(&outcome).1, "AddressInUse");
    node.kernel().set_answered([]);
    pass(&mut node, &remembered);
    assert!(node.kernel().holds(VIP.parse().unwrap()));
}

#[test]
fn a_refused_destination_fails_alone_and_is_named() {
    let mut node = node();
    let refused = DestinationKey::new("192.168.56.30".parse().unwrap(), 80);
    node.kernel().refuse_ipvs(service(), Some(refused), Errno::EINVAL);
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert!(node.kernel().holds(VIP.parse().unwrap()));
    assert_eq!(node.kernel().ipvs().table().services[&service()].destinations.len(), 1);
    let (status_, reason, message) = programmed(&outcome);
    assert_eq!((status_, reason), ("False", "KernelRefused"));
    assert!(
        message.contains("192.168.56.30:80") && message.contains("EINVAL"),
        "{message}"
    );
    let states: Vec<_> = status(&outcome)
        .director
        .as_ref()
        .unwrap()
        .real_servers
        .iter()
        .map(|server| server.state)
        .collect();
    assert_eq!(states, [DestinationState::Pending, DestinationState::Serving]);
    assert!(outcome.unfinished);
    node.kernel().refuse_nothing();
    assert_eq!(programmed(&pass(&mut node, &api(DIRECTOR))).0, "True");
}

#[test]
fn f25_a_missing_module_is_said_and_tried_again() {
    let mut node = node();
    node.kernel().set_module_missing(true);
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert_eq!(programmed(&outcome).1, "ModuleMissing");
    assert!(outcome.unfinished && !node.kernel().holds(VIP.parse().unwrap()));
    node.kernel().set_module_missing(false);
    assert_eq!(programmed(&pass(&mut node, &api(DIRECTOR))).0, "True");
}

#[test]
fn f13_a_vip_that_is_the_hosts_own_address_is_refused_here_too() {
    let mut node = node();
    let spec = DIRECTOR.replace("192.168.56.100", "192.168.56.10");
    let outcome = pass(&mut node, &api(&spec));
    assert_eq!((programmed(&outcome).1, outcome.done.len()), ("AddressInUse", 0));
}

#[test]
fn an_administrators_stronger_value_is_left_alone() {
    let mut node = node();
    let knob = Sysctl::on("eth0", Knob::ArpIgnore);
    node.kernel().set_sysctl(knob.clone(), 2);
    node.kernel().set_sysctl(Sysctl::of_all(Knob::ArpAnnounce), 2);
    let outcome = pass(&mut node, &api(HOST));
    check(
        &outcome.done,
        &expect![[r#"
            ip address add 192.168.56.100/32 dev lo scope host proto 77
        "#]],
    );
    assert_eq!(programmed(&outcome).0, "True");
    pass(&mut node, &nothing());
    assert_eq!(node.kernel().sysctl(&knob).unwrap(), Some(2));
}

#[test]
fn an_interface_that_appears_is_silenced_too() {
    let mut node = node();
    pass(&mut node, &api(HOST));
    let eth1 = Interface {
        index: 9,
        up: true,
        arp: true,
        ..Interface::default()
    };
    node.kernel().set_interface("eth1", eth1);
    node.network_changed();
    assert_eq!(pass(&mut node, &api(HOST)).done.len(), 2);
}

#[test]
fn a_node_that_is_no_director_never_looks_at_ipvs() {
    let mut node = node();
    node.kernel().set_module_missing(true);
    let outcome = pass(&mut node, &api(HOST));
    assert!(!outcome.unfinished);
    assert_eq!(node.observed().ipvs, Ipvs::Unread);
}

#[test]
fn a_withdrawn_address_is_gone_from_the_status_when_it_is_gone_from_the_kernel() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let leaving = DIRECTOR.replace("addressOwner: Node", "addressOwner: Node, withdraw: true");
    let outcome = pass(&mut node, &view(Source::Api, 2, &leaving));
    assert_eq!(status(&outcome).director.as_ref().unwrap().addresses, []);
    assert_eq!(node.kernel().ipvs().table().services.len(), 0);
    let mut host = self::node();
    pass(&mut host, &api(HOST));
    let leaving = HOST.replace(
        "{address: 192.168.56.100}",
        "{address: 192.168.56.100, leaving: true, withdraw: true}",
    );
    let outcome = pass(&mut host, &view(Source::Api, 2, &leaving));
    assert_eq!(status(&outcome).real_server.as_ref().unwrap().addresses, [""; 0]);
}

#[test]
fn a_leaving_host_address_stays_until_it_is_withdrawn() {
    let mut node = node();
    pass(&mut node, &api(HOST));
    let leaving = HOST.replace("{address: 192.168.56.100}", "{address: 192.168.56.100, leaving: true}");
    let outcome = pass(&mut node, &view(Source::Api, 2, &leaving));
    assert_eq!(
        (outcome.done.len(), node.kernel().is_local(VIP.parse().unwrap())),
        (0, true)
    );
}

#[test]
fn a_crash_after_any_write_is_mended_by_the_next_start() {
    for spec in [DIRECTOR, HOST] {
        for writes in 0..6 {
            let mut first = node();
            first.kernel().crash_after(Some(writes));
            first.see(api(spec));
            let _: Result<Outcome, KernelError> = first.pass(Now::default());
            first.kernel().crash_after(None);
            let mut second = restarted(first);
            let outcome = pass(&mut second, &api(spec));
            assert_eq!(programmed(&outcome).0, "True", "{writes} writes");
            pass(&mut second, &nothing());
            assert_eq!(second.kernel().ipvs().table().services.len(), 0);
            let knob = Sysctl::on("eth0", Knob::ArpIgnore);
            assert_eq!(second.kernel().sysctl(&knob).unwrap(), Some(0));
        }
    }
}

#[test]
fn f30_a_lost_answer_is_read_back_and_not_believed_either_way() {
    let mut node = node();
    node.kernel().lose_answers(2);
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert!(outcome.unfinished);
    assert_eq!(programmed(&pass(&mut node, &api(DIRECTOR))).0, "True");
}
