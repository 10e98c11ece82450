//! Probes by the way of clients' packets: what steers them, what lets their answers in, and that all of it is given back.

use super::methods::director;
use super::*;
use crate::checks::Steering;

/// The checks of a service that says nothing of any.
fn checked(spec: &str) -> String {
    format!("{spec}  healthChecks: [{{}}]\n")
}

fn steering(node: &TestNode) -> Vec<String> {
    let word = |(way, steering): (&crate::checks::Way, &Steering)| match steering {
        Steering::Marked { mark, source } => format!("{way}: {mark:#x} from {source}"),
        Steering::Unsteered => format!("{way}: own address"),
    };
    node.ways().open.iter().map(word).collect()
}

fn accept_local(node: &mut TestNode) -> i64 {
    let sysctl = Sysctl::on("eth0", Knob::AcceptLocal);
    node.kernel().sysctl(&sysctl).unwrap().unwrap()
}

#[test]
fn a_way_has_a_service_that_sends_to_one_real_server_and_is_open_when_it_was_read_back() {
    let mut node = node();
    assert_eq!(steering(&node), [""; 0]);
    let outcome = pass(&mut node, &api(&checked(DIRECTOR)));
    check(
        &outcome.done,
        &expect![[r#"
        nft add table inet lvs_operator
        nft add set inet lvs_operator probe_sources4 { type ipv4_addr; }
        nft add set inet lvs_operator probed4 { type ipv4_addr; }
        nft add set inet lvs_operator vips4 { type ipv4_addr; }
        nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
        nft add chain inet lvs_operator returned { type filter hook input priority 97; policy accept; }
        nft add element inet lvs_operator probe_sources4 { 192.168.56.10 }
        nft add element inet lvs_operator probed4 { 192.168.56.100 }
        nft add element inet lvs_operator vips4 { 192.168.56.100 }
        nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
        nft add rule inet lvs_operator guard ip saddr @vips4 accept
        nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
        nft add rule inet lvs_operator returned iifname != "lo" ip saddr @probe_sources4 ip daddr @probed4 counter drop
        nft add rule inet lvs_operator returned iifname != "lo" ip saddr @vips4 ip daddr @vips4 counter drop
        sysctl -w net.ipv4.conf.eth0.accept_local=1
        ipvsadm -A -t 192.168.56.100:80 -s rr
        ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 1
        ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.40:80 -g -w 3
        ipvsadm -A -f 313275217 -s wlc -o
        ipvsadm -a -f 313275217 -r 192.168.56.30:0 -g -w 1
        ip address add 192.168.56.100/32 dev eth0 proto 77
        arping -U -c 1 -I eth0 192.168.56.100
    "#]],
    );
    assert_eq!(programmed(&outcome).0, "True");
    let [way] = &steering(&node)[..] else {
        panic!("rs2 has no nodeName: {:?}", steering(&node))
    };
    assert!(
        way.starts_with("192.168.56.30 by DR: 0x1") && way.ends_with(" from 192.168.56.10"),
        "{way}"
    );
    let report = status(&outcome).director.as_ref().unwrap();
    assert_eq!(
        report.real_servers.len(),
        2,
        "what steers probes is no service of users"
    );
}

#[test]
fn a_restart_writes_nothing_and_what_is_asked_for_no_more_is_given_back() {
    let mut node = node();
    pass(&mut node, &api(&checked(DIRECTOR)));
    assert_eq!(pass(&mut node, &api(&checked(DIRECTOR))).done, []);
    let mut node = restarted(node);
    assert_eq!(steering(&node), [""; 0], "nobody knows yet");
    assert_eq!(
        pass(&mut node, &api(&checked(DIRECTOR))).done,
        [],
        "a restart writes nothing"
    );
    assert_eq!(steering(&node).len(), 1);
    let outcome = pass(&mut node, &nothing());
    check(
        &outcome.done,
        &expect![[r#"
        ip address del 192.168.56.100/32 dev eth0
        ipvsadm -D -t 192.168.56.100:80
        ipvsadm -D -f 313275217
        nft delete table inet lvs_operator
        sysctl -w net.ipv4.conf.eth0.accept_local=0
    "#]],
    );
    assert_eq!(accept_local(&mut node), 0);
    assert!(node.ledger.is_empty(), "{:?}", node.ledger);
    assert_eq!(steering(&node), [""; 0]);
}

/// Before its first pass: who is not in the table does not serve, and is not taken for up.
#[test]
fn f37_an_agent_that_starts_knows_who_serves_by_the_table_of_the_one_before() {
    let mut node = node();
    pass(&mut node, &api(&checked(DIRECTOR)));
    let mut node = restarted(node);
    node.meet();
    let spec = api(&checked(DIRECTOR)).placements[&key()].spec.clone();
    let serves = |node: &TestNode, address: &str| node.sends_to(&spec, address.parse().unwrap());
    assert!(serves(&node, "192.168.56.30:80") && !serves(&node, "192.168.56.31:80"));
    assert_eq!(
        pass(&mut node, &api(&checked(DIRECTOR))).done,
        [],
        "a restart writes nothing"
    );
}

#[test]
fn an_administrators_accept_local_stays() {
    let mut node = node();
    node.kernel().set_sysctl(Sysctl::of_all(Knob::AcceptLocal), 1);
    let outcome = pass(&mut node, &api(&checked(DIRECTOR)));
    assert!(
        !outcome
            .done
            .iter()
            .any(|change| change.to_string().contains("accept_local"))
    );
    assert!(steering(&node)[0].contains(" from 192.168.56.10"));
}

/// Else all real servers that are asked by the path would be taken for dead until the next audit.
#[test]
fn a_knob_that_lets_answers_in_is_looked_at_between_audits() {
    let mut node = node();
    pass(&mut node, &api(&checked(DIRECTOR)));
    assert!(!node.answers_are_shut_out());
    node.kernel().set_sysctl(Sysctl::on("eth0", Knob::AcceptLocal), 0);
    assert!(node.answers_are_shut_out());
    check(
        &pass(&mut node, &api(&checked(DIRECTOR))).done,
        &expect![[r"
            sysctl -w net.ipv4.conf.eth0.accept_local=1
        "]],
    );
    assert!(!node.answers_are_shut_out());
    // What nobody is asked by is an audit's to find.
    pass(&mut node, &api(DIRECTOR));
    node.kernel().set_sysctl(Sysctl::on("eth0", Knob::AcceptLocal), 1);
    assert!(!node.answers_are_shut_out());
}

/// What it sent to a real server without the VIP would come to the director that has it, who would balance it.
#[test]
fn a_director_without_the_vip_asks_real_servers_at_their_own_addresses() {
    let mut node = node();
    let reserved = checked(DIRECTOR).replace("addressOwner: Node", "addressOwner: Reserved");
    let outcome = pass(&mut node, &api(&reserved));
    assert_eq!(steering(&node), ["192.168.56.30 by DR: own address"]);
    assert_eq!(node.ways().elsewhere, BTreeSet::from([VIP.parse().unwrap()]));
    assert!(!outcome.done.iter().any(|change| change.to_string().contains(" -f ")));
    assert_eq!(accept_local(&mut node), 0);
    let host = "realServer:\n  addresses: [{address: 192.168.56.100}]\n  realServers: [{name: own, addresses: [192.168.56.10], forwardingMethod: DR}]\n";
    pass(&mut node, &api(&format!("{reserved}{host}")));
    assert_eq!(node.ways().elsewhere, BTreeSet::from([VIP.parse().unwrap()]));
    pass(&mut node, &api(&format!("{}{host}", checked(DIRECTOR))));
    assert!(node.ways().elsewhere.is_empty(), "it holds the VIP as a director");
    assert!(steering(&node)[0].contains(" from 192.168.56.10"));
}

/// Strict, it drops what comes in by another interface than that of the VIP, which every answer is from.
#[test]
fn answers_by_another_interface_than_the_vips_need_a_reverse_path_filter_that_is_not_strict() {
    let of_filter = |outcome: &Outcome| -> Vec<String> {
        let said = outcome.done.iter().map(ToString::to_string);
        said.filter(|line| line.contains("rp_filter")).collect()
    };
    let strict = |node: &mut TestNode, name: &str| node.kernel().set_sysctl(Sysctl::on(name, Knob::RpFilter), 1);
    let far = checked(DIRECTOR).replace("192.168.56.30", "10.0.0.30");
    let mut node = director();
    ["eth0", "eth1"].into_iter().for_each(|name| strict(&mut node, name));
    let outcome = pass(&mut node, &api(&far));
    assert_eq!(of_filter(&outcome), ["sysctl -w net.ipv4.conf.eth1.rp_filter=2"]);
    assert!(steering(&node)[0].contains(" from 10.0.0.1"), "{:?}", steering(&node));
    let outcome = pass(&mut node, &nothing());
    assert_eq!(of_filter(&outcome), ["sysctl -w net.ipv4.conf.eth1.rp_filter=1"]);

    assert_eq!(
        of_filter(&pass(&mut director(), &api(&far))),
        [""; 0],
        "one that does not filter stays"
    );
    let mut node = director();
    strict(&mut node, "eth0");
    assert_eq!(
        of_filter(&pass(&mut node, &api(&checked(DIRECTOR)))),
        [""; 0],
        "strict is right where the VIP is"
    );
}

#[test]
fn a_real_server_that_is_the_director_itself_is_asked_at_its_own_address() {
    let mut node = node();
    let own = checked(DIRECTOR).replace("192.168.56.30", "192.168.56.10");
    let outcome = pass(&mut node, &api(&own));
    assert_eq!(steering(&node), ["192.168.56.10 by DR: own address"]);
    assert!(!outcome.done.iter().any(|change| change.to_string().contains(" -f ")));
    assert_eq!(accept_local(&mut node), 0);
}

/// Connection tracking does not know the answers: a firewall that accepts what is established would drop every one, and no
/// real server would be left.
#[test]
fn behind_a_firewall_that_drops_by_policy_real_servers_are_asked_at_their_own_addresses() {
    let mut node = node();
    let firewall = |hook| crate::ruleset::Firewall {
        family: "ip",
        table: "filter".to_owned(),
        chain: "INPUT".to_owned(),
        hook,
        priority: 0,
    };
    node.kernel().set_firewalls([firewall(crate::ruleset::Hook::Input)]);
    pass(&mut node, &api(&checked(DIRECTOR)));
    assert_eq!(steering(&node), ["192.168.56.30 by DR: own address"]);
    let mut node = self::node();
    node.kernel().set_firewalls([firewall(crate::ruleset::Hook::Forward)]);
    pass(&mut node, &api(&checked(DIRECTOR)));
    assert!(steering(&node)[0].contains(" from "));
}

#[test]
fn what_the_kernel_refuses_leaves_a_way_unsteered_and_is_said() {
    let mut node = node();
    pass(&mut node, &api(&checked(DIRECTOR)));
    let mark = node
        .ledger
        .services
        .iter()
        .find(|key| crate::desired::is_for_probes(key));
    let mark = *mark.unwrap();
    let mut node = self::node();
    node.kernel().refuse_ipvs(mark, None, Errno::ENOENT);
    let outcome = pass(&mut node, &api(&checked(DIRECTOR)));
    assert_eq!(steering(&node), ["192.168.56.30 by DR: own address"]);
    assert_eq!(programmed(&outcome).0, "False");
    assert!(
        programmed(&outcome).2.contains("ipvsadm -A -f"),
        "{}",
        programmed(&outcome).2
    );
    assert!(node.kernel().holds(VIP.parse().unwrap()), "clients are served");
    node.kernel().refuse_nothing();
    assert_eq!(programmed(&pass(&mut node, &api(&checked(DIRECTOR)))).0, "True");
    assert!(steering(&node)[0].contains(" from "));
}

#[test]
fn two_services_share_a_way_and_the_last_one_takes_it_along() {
    let mut view = api(&checked(DIRECTOR));
    let other = checked(DIRECTOR).replace("192.168.56.100", "192.168.56.101");
    let zoo = PlacementKey {
        name: "zoo".to_owned(),
        ..key()
    };
    let placed = api(&other).placements.remove(&key()).unwrap();
    view.placements.insert(zoo.clone(), placed);
    let mut node = node();
    let count = |outcome: &Outcome| {
        let marks = outcome.done.iter().filter(|change| change.to_string().contains(" -f "));
        marks.count()
    };
    assert_eq!(count(&pass(&mut node, &view)), 2, "one service and its destination");
    view.placements.remove(&zoo);
    assert_eq!(count(&pass(&mut node, &view)), 0);
    assert_eq!(count(&pass(&mut node, &nothing())), 1);
}

/// The mark that makes ports one service would take the probe's place, and balance it.
#[test]
fn marks_of_across_ports_leave_probes_alone() {
    let marked = checked(DIRECTOR).replace(
        "{protocol: TCP, port: 80, scheduler: rr}",
        "{firewallMark: 520093697, markedPorts: [{protocol: TCP, port: 80}], scheduler: rr}",
    );
    let mut node = node();
    let outcome = pass(&mut node, &api(&marked.replace("[{}]", "[{port: 80}]")));
    let rules: Vec<String> = outcome.done.iter().map(|change| format!("{change}\n")).collect();
    let rules: String = rules.concat();
    let own: Vec<&str> = rules
        .lines()
        .filter(|line| line.contains("rule inet lvs_operator marking_own"))
        .collect();
    assert!(own[0].ends_with("meta mark @probe_marks accept"), "{own:?}");
    assert_eq!(own.len(), 2);
    assert_eq!(steering(&node).len(), 1);
}

#[test]
fn after_a_lost_ledger_a_probes_service_is_ours_by_its_mark() {
    let mut node = node();
    pass(&mut node, &api(&checked(DIRECTOR)));
    let (kernel, _) = node.into_parts();
    let mut node = on(kernel, Vec::new());
    let tun = checked(DIRECTOR).replace("forwardingMethod: DR", "forwardingMethod: TUN");
    let outcome = pass(&mut node, &api(&tun));
    assert_eq!(programmed(&outcome).0, "True", "{}", programmed(&outcome).2);
    let probes = node.observed().ipvs.table().unwrap().services.keys();
    assert_eq!(probes.filter(|key| crate::desired::is_for_probes(key)).count(), 1);
}
