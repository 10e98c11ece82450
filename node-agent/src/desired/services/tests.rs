//! Each field of the API, and what it is in the kernel's words: the lines are ipvsadm's.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use crate::desired::desired;
use crate::state::Facts;
use crate::view::{Placed, PlacementKey, Source, View};

const MANY: &str =
    "[{address: 192.168.56.100, addressOwner: Reserved}, {address: 'fd56::100', addressOwner: Reserved}]";

/// The lines of a director with these VIPs, services and real servers.
fn lines(addresses: &str, services: &str, real_servers: &str) -> String {
    let spec = format!(
        "{{subject: {{kind: VirtualService, name: web}}, nodeName: dir1, director: {{addresses: {addresses}, services: {services}, realServers: {real_servers}}}}}"
    );
    let placed = Placed {
        uid: "u".to_owned(),
        generation: 1,
        spec: serde_yaml::from_str(&spec).unwrap(),
        not_understood: None,
        down: Default::default(),
        untested: Default::default(),
        serving: Default::default(),
    };
    let key = PlacementKey {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    };
    let view = View {
        source: Source::Api,
        placements: [(key, placed)].into(),
    };
    let desired = desired(&view, &Facts::default());
    assert!(desired.problems.is_empty(), "{:?}", desired.problems);
    let mut text = String::new();
    for change in ipvs::diff(&desired.state.ipvs, &ipvs::Table::default()) {
        writeln!(text, "{change}").unwrap();
    }
    text
}

fn check(addresses: &str, services: &str, real_servers: &str, expected: &Expect) {
    expected.assert_eq(&lines(addresses, services, real_servers));
}

#[test]
fn methods_ports_and_thresholds_of_real_servers() {
    check(
        "[{address: 192.168.56.100, addressOwner: Reserved}]",
        "[{protocol: TCP, port: 80, targetPort: 8080, scheduler: wlc}]",
        "[{name: a, addresses: [10.0.0.1], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100]},
          {name: b, addresses: [10.0.0.2], weight: 2, forwardingMethod: FullNAT, port: 9090, prepared: [192.168.56.100]},
          {name: c, addresses: [10.0.0.3], weight: 3, forwardingMethod: DR, upperThreshold: 9, lowerThreshold: 4, prepared: [192.168.56.100]},
          {name: d, addresses: [10.0.0.4], weight: 0, forwardingMethod: TUN, tunnel: {type: GUE, port: 6080, checksum: Checksum}, prepared: [192.168.56.100]},
          {name: e, addresses: [10.0.0.5], weight: 1, forwardingMethod: TUN, prepared: [192.168.56.100]},
          {name: f, addresses: [10.0.0.6], weight: 1, forwardingMethod: TUN, tunnel: {type: GRE}, prepared: [192.168.56.100]},
          {name: unprepared, addresses: [10.0.0.7], weight: 1, forwardingMethod: DR, prepared: []}]",
        &expect![[r#"
            ipvsadm -A -t 192.168.56.100:80 -s wlc
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.1:8080 -m -w 1
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.2:9090 -m -w 2
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.3:80 -g -w 3 -x 9 -y 4
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.4:80 -i -w 0 --tun-type gue --tun-port 6080 --tun-csum
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.5:80 -i -w 1 --tun-type ipip
            ipvsadm -a -t 192.168.56.100:80 -r 10.0.0.6:80 -i -w 1 --tun-type gre --tun-nocsum
        "#]],
    );
}

#[test]
fn each_family_has_the_addresses_of_its_family_and_tunnels_carry_the_other() {
    check(
        MANY,
        "[{protocol: SCTP, port: 9, scheduler: rr}]",
        "[{name: both, addresses: [10.0.0.1, 'fd00::1'], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100, 'fd56::100']},
          {name: four, addresses: [10.0.0.2], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100, 'fd56::100']},
          {name: tunnel, addresses: [10.0.0.3], weight: 1, forwardingMethod: TUN, prepared: [192.168.56.100, 'fd56::100']}]",
        &expect![[r#"
            ipvsadm -A --sctp-service 192.168.56.100:9 -s rr
            ipvsadm -a --sctp-service 192.168.56.100:9 -r 10.0.0.1:9 -m -w 1
            ipvsadm -a --sctp-service 192.168.56.100:9 -r 10.0.0.2:9 -m -w 1
            ipvsadm -a --sctp-service 192.168.56.100:9 -r 10.0.0.3:9 -i -w 1 --tun-type ipip
            ipvsadm -A --sctp-service [fd56::100]:9 -s rr
            ipvsadm -a --sctp-service [fd56::100]:9 -r 10.0.0.3:9 -i -w 1 --tun-type ipip
            ipvsadm -a --sctp-service [fd56::100]:9 -r [fd00::1]:9 -m -w 1
        "#]],
    );
}

#[test]
fn persistence_has_a_granularity_for_each_family() {
    check(
        MANY,
        "[{protocol: UDP, port: 0, scheduler: sh, schedulerFlags: [sh-fallback, sh-port], onePacket: true,
           persistence: {timeoutSeconds: 120, ipv4PrefixLength: 24, ipv6PrefixLength: 64, engine: sip}}]",
        "[{name: a, addresses: [10.0.0.1], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100, 'fd56::100']}]",
        &expect![[r#"
            ipvsadm -A -u 192.168.56.100:0 -s sh -p 120 -M 255.255.255.0 --pe sip -o -b sh-fallback,sh-port
            ipvsadm -a -u 192.168.56.100:0 -r 10.0.0.1:0 -m -w 1
            ipvsadm -A -u [fd56::100]:0 -s sh -p 120 -M 64 --pe sip -o -b sh-fallback,sh-port
        "#]],
    );
}

#[test]
fn a_mark_is_one_service_for_each_family_and_keeps_ports() {
    check(
        MANY,
        "[{firewallMark: 10, scheduler: mh, schedulerFlags: [mh-fallback]}]",
        "[{name: a, addresses: [10.0.0.1, 'fd00::1'], weight: 1, forwardingMethod: NAT, prepared: [192.168.56.100, 'fd56::100']},
          {name: half, addresses: [10.0.0.2, 'fd00::2'], weight: 1, forwardingMethod: DR, prepared: [192.168.56.100]}]",
        &expect![[r#"
            ipvsadm -A -f 10 -s mh -b mh-fallback
            ipvsadm -a -f 10 -r 10.0.0.1:0 -m -w 1
            ipvsadm -a -f 10 -r 10.0.0.2:0 -g -w 1
            ipvsadm -A -f 10 -6 -s mh -b mh-fallback
            ipvsadm -a -f 10 -6 -r [fd00::1]:0 -m -w 1
        "#]],
    );
}
