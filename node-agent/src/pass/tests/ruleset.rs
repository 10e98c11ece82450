//! What nftables has for the Placements, in which order, and after somebody interfered.

use std::net::IpAddr;

use super::*;
use crate::kernel::Connection;
use crate::kernel::notify::Committed;
use crate::ruleset::{Firewall, Hook, Ruleset, Source as NewSource};
use crds::conditions::{BLOCKED_BY_FIREWALL, SOURCE_PORTS_LOW};

const NAT: &str = "
subject: {kind: VirtualService, name: web}
nodeName: dir1
director:
  addresses: [{address: 192.168.56.100, addressOwner: Node}]
  services: [{protocol: TCP, port: 80, targetPort: 8080, scheduler: rr}]
  realServers:
  - {name: rs1, addresses: [192.168.56.30], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100]}
  - {name: rs2, addresses: [192.168.56.40], weight: 1, forwardingMethod: FullNAT, prepared: [192.168.56.100]}
";

const ACROSS_PORTS: &str = "
subject: {kind: VirtualService, name: web}
nodeName: dir1
director:
  addresses: [{address: 192.168.56.100, addressOwner: Node}, {address: 'fd56::100', addressOwner: Node, interface: eth0}]
  services:
  - firewallMark: 1291845633
    markedPorts: [{protocol: TCP, port: 80}, {protocol: TCP, port: 443}]
    scheduler: rr
  realServers:
  - {name: rs1, addresses: [192.168.56.30], weight: 1, forwardingMethod: FullNAT, prepared: [192.168.56.100, 'fd56::100']}
  undeclaredPorts: Accept
  fullNATSourceAddresses: [192.168.56.5, 192.168.56.6]
";

const MEMBER: &str = "
subject: {kind: DirectorGroup, name: default}
nodeName: dir1
virtualRouter:
  masquerade:
  - {sourceCIDR: 10.0.0.0/24}
  - {sourceCIDR: 10.0.0.0/24, outInterface: eth0, sourceAddresses: [192.168.56.7]}
";

fn nft(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.done.iter().map(ToString::to_string);
    lines.filter(|line| line.starts_with("nft ")).collect()
}

fn is_programmed(outcome: &Outcome) -> bool {
    programmed(outcome).0 == "True"
}

fn stages(outcome: &Outcome) -> Vec<&str> {
    outcome.done.iter().map(crate::metrics::kind).collect()
}

#[test]
fn f14_the_vip_opens_only_its_declared_ports() {
    let mut node = node();
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert!(is_programmed(&outcome));
    let guarded = node.kernel().nftables().guarded;
    assert_eq!(guarded, BTreeSet::from([VIP.parse().unwrap()]));
    // Neither ICMP nor what IPVS takes before it is dropped; no list of ports is there to be wrong.
    check(
        &outcome.done[..1],
        &expect![[r#"
            nft add table inet lvs_operator
            nft add set inet lvs_operator vips4 { type ipv4_addr; }
            nft add chain inet lvs_operator guard { type filter hook input priority 110; policy accept; }
            nft add element inet lvs_operator vips4 { 192.168.56.100 }
            nft add rule inet lvs_operator guard meta l4proto { 1, 58 } accept
            nft add rule inet lvs_operator guard ip saddr @vips4 accept
            nft add rule inet lvs_operator guard ip daddr @vips4 counter drop
        "#]],
    );
    let open = DIRECTOR.replace("  services:", "  undeclaredPorts: Accept\n  services:");
    let outcome = pass(&mut node, &api(&open));
    assert_eq!(nft(&outcome), ["nft delete table inet lvs_operator"]);
}

#[test]
fn f14_a_destination_that_is_this_node_itself_is_let_through() {
    let mut node = node();
    let local = DIRECTOR.replace("192.168.56.40", "192.168.56.10");
    pass(&mut node, &api(&local));
    let table = node.kernel().table().unwrap().clone();
    let rules: Vec<String> = table.chains["guard"].rules.iter().map(ToString::to_string).collect();
    let exception = rules
        .iter()
        .position(|rule| rule.contains("@local_ports4") && rule.contains("accept"));
    let drop = rules.iter().position(|rule| rule.contains("drop"));
    assert!(exception.is_some() && exception < drop, "{rules:?}");
    assert_eq!(table.sets["local_ports4"].elements.len(), 1);
}

#[test]
fn the_ruleset_comes_before_ipvs_and_goes_after_it() {
    let mut node = node();
    let outcome = pass(&mut node, &api(NAT));
    let all = [
        "ruleset",
        "sysctl",
        "ipvs_service",
        "ipvs_destination",
        "address",
        "announcement",
    ];
    let mut seen = stages(&outcome);
    seen.dedup();
    assert_eq!(seen, all);
    assert!(is_programmed(&outcome), "{:?}", programmed(&outcome));
    let outcome = pass(&mut node, &nothing());
    let mut seen = stages(&outcome);
    seen.dedup();
    assert_eq!(seen, ["address", "ipvs_service", "ruleset", "sysctl"]);
    assert_eq!(node.kernel().table(), None);
}

#[test]
fn nat_and_full_nat_of_one_service_are_told_apart_by_the_real_server() {
    let mut node = node();
    pass(&mut node, &api(NAT));
    let ruleset = node.kernel().nftables();
    let addresses: Vec<IpAddr> = ruleset.replies.iter().map(|(address, _, _)| *address).collect();
    assert_eq!(addresses, ["192.168.56.30".parse::<IpAddr>().unwrap()]);
    let flows: Vec<IpAddr> = ruleset.full_nat.keys().map(|flow| flow.server()).collect();
    assert_eq!(flows, ["192.168.56.40".parse::<IpAddr>().unwrap()]);
}

#[test]
fn one_more_real_server_is_one_element_and_no_listing() {
    let mut node = node();
    pass(&mut node, &api(NAT));
    let listings = node.kernel().listings();
    let more = format!(
        "{NAT}  - {{name: rs3, addresses: [192.168.56.50], weight: 1, forwardingMethod: FullNAT, prepared: [192.168.56.100]}}\n"
    );
    let outcome = pass(&mut node, &api(&more));
    assert_eq!(
        nft(&outcome),
        [
            "nft add element inet lvs_operator fullnat_ports4 { 192.168.56.100 . 6 . 192.168.56.50 . 8080 : goto fullnat_interface }"
        ]
    );
    assert!(is_programmed(&outcome));
    assert_eq!(node.kernel().listings(), listings);
}

#[test]
fn marks_of_our_own_are_written_whole_and_full_nat_goes_by_them() {
    let mut node = node();
    pass(&mut node, &api(ACROSS_PORTS));
    let ruleset = node.kernel().nftables();
    assert_eq!(ruleset.marks.len(), 4, "two ports on two VIPs");
    assert!(ruleset.guarded.is_empty());
    let pool = BTreeSet::from(["192.168.56.5", "192.168.56.6"].map(|text| text.parse().unwrap()));
    assert_eq!(
        ruleset.full_nat.values().collect::<Vec<_>>(),
        [&NewSource::Addresses(pool)]
    );
}

#[test]
fn a_membership_masquerades_the_narrower_rule_first() {
    let mut node = node();
    let outcome = pass(&mut node, &api(MEMBER));
    let lines = nft(&outcome).join("\n");
    let rules: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("add rule inet lvs_operator source_nat"))
        .collect();
    assert_eq!(
        rules,
        [
            "nft add rule inet lvs_operator source_nat oifname \"eth0\" ip saddr 10.0.0.0/24 snat ip to 192.168.56.7",
            "nft add rule inet lvs_operator source_nat ip saddr 10.0.0.0/24 ip daddr != 10.0.0.0/24 masquerade",
        ]
    );
    let wild = MEMBER.replace("eth0", "'eth*'");
    let outcome = pass(&mut node, &api(&wild));
    assert_eq!(programmed(&outcome).1, "Invalid");
    assert_eq!(node.kernel().nftables().masquerade.len(), 1, "its neighbour stays");
}

#[test]
fn a_flushed_ruleset_is_repaired_and_our_own_repair_is_no_news() {
    let mut node = node();
    pass(&mut node, &api(NAT));
    let whole = node.kernel().table().cloned();
    let committed = node.kernel().edit_table(|table| *table = None);
    assert!(node.ruleset_committed(committed));
    let outcome = pass(&mut node, &api(NAT));
    assert_eq!(stages(&outcome), ["ruleset"]);
    assert_eq!(node.kernel().table().cloned(), whole);
    let ours = Committed {
        ours: true,
        firewalls: false,
        generation: node.kernel().ruleset_generation().ok(),
    };
    assert!(!node.ruleset_committed(ours));
    let lost = Committed {
        generation: None,
        ..ours
    };
    assert!(node.ruleset_committed(lost), "who knows what was missed");
    assert!(pass(&mut node, &api(NAT)).done.is_empty());
    let elsewhere = node.kernel().commit_elsewhere();
    assert!(!node.ruleset_committed(elsewhere));
}

#[test]
fn what_somebody_added_to_our_table_is_taken_out() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let whole = node.kernel().table().cloned();
    let accept = serde_json::json!([{"accept": null}]);
    let committed = node.kernel().edit_table(|table| {
        let guard = table.as_mut().unwrap().chains.get_mut("guard").unwrap();
        guard.rules.insert(0, accept);
    });
    assert!(node.ruleset_committed(committed));
    pass(&mut node, &api(DIRECTOR));
    assert_eq!(node.kernel().table().cloned(), whole);
}

#[test]
fn a_restarted_agent_writes_nothing_and_knows_its_table_without_a_ledger() {
    let mut node = node();
    pass(&mut node, &api(NAT));
    let mut node = restarted(node);
    let outcome = pass(&mut node, &api(NAT));
    assert!(outcome.done.is_empty() && is_programmed(&outcome));
    let outcome = pass(&mut restarted(node), &nothing());
    assert!(nft(&outcome).contains(&"nft delete table inet lvs_operator".to_owned()));
}

#[test]
fn remembered_placements_take_nothing_out_of_the_table() {
    let mut node = node();
    pass(&mut node, &api(NAT));
    let full = node.kernel().nftables();
    let mut node = restarted(node);
    let outcome = pass(&mut node, &view(Source::Disk, 1, DIRECTOR));
    assert!(nft(&outcome).is_empty(), "{:?}", nft(&outcome));
    assert_eq!(node.kernel().nftables(), full);
}

#[test]
fn without_nft_no_vip_is_opened_and_one_that_serves_stays() {
    let mut bare = node();
    bare.kernel().set_nft_missing(true);
    let outcome = pass(&mut bare, &api(DIRECTOR));
    assert_eq!(programmed(&outcome).1, "ModuleMissing");
    assert!(
        programmed(&outcome).2.contains("nftables"),
        "{}",
        programmed(&outcome).2
    );
    assert!(!bare.kernel().holds(VIP.parse().unwrap()));
    bare.kernel().set_nft_missing(false);
    assert!(is_programmed(&pass(&mut bare, &api(DIRECTOR))));
    let mut serving = bare;
    serving.kernel().refuse_ruleset(true);
    let committed = serving.kernel().edit_table(|table| *table = None);
    serving.ruleset_committed(committed);
    let outcome = pass(&mut serving, &api(DIRECTOR));
    assert_eq!(programmed(&outcome).1, "KernelRefused");
    assert!(serving.kernel().holds(VIP.parse().unwrap()));
}

#[test]
fn a_host_without_nftables_needs_none() {
    let mut node = node();
    node.kernel().set_nftables_unsupported(true);
    let outcome = pass(&mut node, &api(HOST));
    assert!(is_programmed(&outcome) && !outcome.unfinished);
    let mut node = on(node.into_parts().0, Vec::new());
    let outcome = pass(&mut node, &api(DIRECTOR));
    assert_eq!(programmed(&outcome).1, "ModuleMissing");
}

#[test]
fn connections_of_former_full_nat_keep_their_tracking() {
    let mut node = node();
    pass(&mut node, &api(NAT));
    let rs2 = DestinationKey::new("192.168.56.40".parse().unwrap(), 8080);
    let connection = Connection {
        protocol: ipvs::Protocol::Tcp,
        client: "192.168.56.20:40000".parse().unwrap(),
        vip: "192.168.56.100:80".parse().unwrap(),
        destination: rs2,
        expires: std::time::Duration::from_secs(900),
    };
    node.kernel().set_connections([connection]);
    let plain = NAT.replace("FullNAT", "NAT");
    let outcome = pass(&mut node, &api(&plain));
    let sources = |ruleset: &Ruleset| ruleset.full_nat.values().cloned().collect::<Vec<_>>();
    assert_eq!(sources(&node.kernel().nftables()), [NewSource::Retired]);
    assert!(outcome.unfinished && is_programmed(&outcome));
    assert!(pass(&mut node, &api(&plain)).done.is_empty());
    node.kernel().set_connections([]);
    let outcome = pass(&mut node, &api(&plain));
    assert!(!outcome.unfinished);
    assert!(!node.kernel().nftables().tracks_connections());
    assert!(!node.kernel().table().unwrap().chains.contains_key("source_nat"));
}

#[test]
fn a_foreign_firewall_that_drops_by_policy_is_named() {
    let mut node = node();
    let firewall = |hook, priority| Firewall {
        family: "ip",
        table: "filter".to_owned(),
        chain: "F".to_owned(),
        hook,
        priority,
    };
    let said = |outcome: &Outcome| find(&status(outcome).conditions, BLOCKED_BY_FIREWALL).map(|c| c.message.clone());
    assert_eq!(said(&pass(&mut node, &api(DIRECTOR))), None);
    let committed = node.kernel().set_firewalls([firewall(Hook::Input, 0)]);
    assert!(node.ruleset_committed(committed));
    let message = said(&pass(&mut node, &api(DIRECTOR))).unwrap();
    assert!(
        message.contains("ip filter F (hook input priority 0, policy drop)"),
        "{message}"
    );
    let committed = node
        .kernel()
        .set_firewalls([firewall(Hook::Forward, 0), firewall(Hook::Input, 110)]);
    node.ruleset_committed(committed);
    assert_eq!(
        said(&pass(&mut node, &api(DIRECTOR))),
        None,
        "neither meets packets of DR"
    );
    let outcome = pass(&mut node, &api(&NAT.replace("FullNAT", "NAT")));
    assert!(said(&outcome).unwrap().contains("hook forward"));
    let conntrack = Sysctl::of_node(Knob::Conntrack);
    assert_eq!(
        node.observed().sysctl(&conntrack),
        Some(1),
        "its 'established, accept' must know our connections"
    );
}

#[test]
fn case_14_source_ports_are_said_to_be_low_before_they_are_used_up() {
    let mut node = node();
    let web = ServiceKey::Address {
        protocol: ipvs::Protocol::Tcp,
        address: "192.168.56.100".parse().unwrap(),
        port: 80,
    };
    let rs2 = DestinationKey::new("192.168.56.40".parse().unwrap(), 8080);
    let said = |node: &TestNode| {
        let conditions = &node.statuses[&key()].conditions;
        find(conditions, SOURCE_PORTS_LOW).map(|c| c.message.clone())
    };
    let audited = |node: &mut TestNode, active, pool: &str| {
        node.kernel().set_active(web, rs2, active);
        let differs = node.audit(1);
        pass(node, &api(&format!("{NAT}{pool}")));
        (differs, said(node))
    };
    pass(&mut node, &api(NAT));
    node.audit(1);
    assert_eq!(audited(&mut node, 48_383, ""), (false, None));
    let (differs, message) = audited(&mut node, 48_384, "");
    let message = message.unwrap();
    assert!(
        differs && message.contains("towards TCP 192.168.56.40:8080 are in use"),
        "{message}"
    );
    // Where there are more addresses there are more ports: known with the next audit.
    let pool = "  fullNATSourceAddresses: [192.168.56.5, 192.168.56.6]\n";
    audited(&mut node, 48_385, pool);
    assert_eq!(audited(&mut node, 96_767, pool), (true, None));
    assert_eq!(node.observed().source_port_share(), 96_767.0 / 129_024.0);
    assert!(audited(&mut node, 96_768, pool).1.is_some());
}
