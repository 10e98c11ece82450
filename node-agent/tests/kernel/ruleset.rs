//! Our table of nftables in a real kernel, judged by `nft` and by packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use ::ipvs::Protocol;
use node_agent::kernel::notify::{Committed, RulesetNotifications};
use node_agent::ruleset::{
    Cut, Firewall, Flow, Hook, InterfaceName, Local, Masquerade, Outer, Ruleset, Source, Table, difference,
};

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn guard() -> Ruleset {
    Ruleset {
        guarded: BTreeSet::from([VIP, address("fd56::100")]),
        ..Ruleset::default()
    }
}

/// Something of every kind.
fn everything() -> Ruleset {
    let server = address("10.0.0.30");
    let flow = |server| Flow::Port {
        vip: VIP,
        protocol: Protocol::Tcp,
        server,
        port: 8080,
    };
    let pool = BTreeSet::from([address("10.0.0.5"), address("10.0.0.6")]);
    let network = "10.0.0.0/24".parse().unwrap();
    let outgoing = |name: Option<&str>, addresses| Masquerade {
        network,
        out_interface: name.map(|name| InterfaceName::try_from(name).unwrap()),
        addresses,
    };
    let local = Local::Port {
        vip: VIP,
        protocol: Protocol::Sctp,
        port: 80,
    };
    Ruleset {
        local: BTreeSet::from([local]),
        replies: BTreeSet::from([(server, Protocol::Udp, 53)]),
        full_nat: BTreeMap::from([
            (flow(server), Source::Interface),
            (flow(address("10.0.0.31")), Source::Addresses(pool.clone())),
            (flow(address("10.0.0.32")), Source::Retired),
            (
                Flow::Mark {
                    mark: 7,
                    server: address("fd00::30"),
                },
                Source::Interface,
            ),
        ]),
        marks: BTreeMap::from([((VIP, Protocol::Tcp, 80), 0x4d00_0001)]),
        masquerade: BTreeSet::from([outgoing(None, BTreeSet::new()), outgoing(Some("eth1"), pool)]),
        tunnels: BTreeMap::from([(
            InterfaceName::try_from("lvs-ipip-000001").unwrap(),
            BTreeSet::from([VIP]),
        )]),
        outer: BTreeSet::from([
            Outer::Protocol {
                local: server,
                protocol: 4,
            },
            Outer::Port {
                local: server,
                port: 6080,
            },
        ]),
        directors: BTreeSet::from([address("192.168.56.10")]),
        segments: BTreeMap::from([(VIP, 1440), (address("fd56::100"), 1420)]),
        probe_sources: BTreeSet::from([address("192.168.56.10"), address("fd56::10")]),
        probed: BTreeSet::from([VIP, address("fd56::100")]),
        probe_marks: BTreeSet::from([0x1000_0001]),
        cut: cut(),
        ..guard()
    }
}

/// Connections of both families.
fn cut() -> BTreeSet<Cut> {
    let pairs = [
        ("192.168.56.20:40000", "192.168.56.100:80"),
        ("[fd56::20]:40000", "[fd56::100]:80"),
    ];
    let both = pairs.into_iter().map(|(client, vip)| {
        let [client, vip] = [client, vip].map(|place| place.parse().unwrap());
        Cut { client, vip }
    });
    both.collect()
}

fn read(linux: &mut Linux) -> Option<Table> {
    linux.ruleset().unwrap().0
}

/// Turns what is there into the table of this ruleset.
fn set(linux: &mut Linux, ruleset: &Ruleset) {
    let wanted = ruleset.table();
    let transaction = difference(read(linux).as_ref(), wanted.as_ref());
    let text = transaction.to_string();
    assert_eq!(linux.apply(&[Change::GrowRuleset(transaction)]), [Ok(())], "{text}");
    assert_eq!(read(linux), wanted, "{text}");
}

#[test]
#[ignore = "needs root, network namespaces and nft"]
fn a_ruleset_is_written_edited_read_back_and_gone() {
    let mut linux = namespace();
    assert_eq!(read(&mut linux), None);
    let whole = everything();
    let mut fewer = whole.clone();
    fewer.full_nat.retain(|_, source| *source == Source::Interface);
    fewer.masquerade.pop_first();
    fewer.marks.clear();
    for ruleset in [guard(), whole.clone(), fewer, guard(), whole] {
        set(&mut linux, &ruleset);
        assert_eq!(Ruleset::of(read(&mut linux).as_ref()), ruleset);
    }
    set(&mut linux, &Ruleset::default());
    assert_eq!(run("nft", "list ruleset"), "");
}

#[test]
#[ignore = "needs root, network namespaces and nft"]
fn what_somebody_does_to_our_table_is_seen_and_repaired() {
    let mut linux = namespace();
    set(&mut linux, &everything());
    for drift in [
        "insert rule inet lvs_operator guard accept",
        "flush chain inet lvs_operator guard",
        "add element inet lvs_operator vips4 { 10.9.9.9 }",
        "delete element inet lvs_operator vips4 { 192.168.56.100 }",
        "add chain inet lvs_operator theirs { type filter hook input priority 0; policy drop; }",
        "add set inet lvs_operator theirs { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }",
        "add counter inet lvs_operator theirs",
        "add table inet lvs_operator { flags dormant; }",
        "add rule inet lvs_operator guard drop comment ours",
        "flush ruleset",
    ] {
        run("nft", drift);
        assert_ne!(read(&mut linux), everything().table(), "{drift}");
        set(&mut linux, &everything());
    }
}

#[test]
#[ignore = "needs root, network namespaces and nft"]
fn other_peoples_tables_are_not_touched() {
    let mut linux = namespace();
    run("nft", "add table ip theirs");
    run(
        "nft",
        "add chain ip theirs forward { type filter hook forward priority 0; policy drop; }",
    );
    run(
        "nft",
        "add chain ip theirs quiet { type filter hook input priority 0; policy accept; }",
    );
    let theirs = run("nft", "list table ip theirs");
    set(&mut linux, &everything());
    let named = Firewall {
        family: "ip",
        table: "theirs".to_owned(),
        chain: "forward".to_owned(),
        hook: Hook::Forward,
        priority: 0,
    };
    assert_eq!(linux.firewalls(), Ok(BTreeSet::from([named])));
    set(&mut linux, &Ruleset::default());
    assert_eq!(run("nft", "list ruleset"), theirs);
}

#[test]
#[ignore = "needs root, network namespaces and nft"]
fn a_transaction_that_is_refused_changes_nothing() {
    let mut linux = namespace();
    set(&mut linux, &everything());
    // What is not there any more cannot be deleted: the picture was old.
    let stale = difference(everything().table().as_ref(), guard().table().as_ref());
    run(
        "nft",
        "delete element inet lvs_operator marks4 { 192.168.56.100 . tcp . 80 : 0x4d000001 }",
    );
    let before = read(&mut linux);
    let refused = linux.apply(&[Change::ShrinkRuleset(stale)]).remove(0);
    // Whole sets go without their elements being named; elements of flows are named.
    match refused {
        Ok(()) => set(&mut linux, &guard()),
        Err(KernelError::Ruleset { message: _ }) => assert_eq!(read(&mut linux), before),
        Err(other) => panic!("{other}"),
    }
}

#[test]
#[ignore = "needs root, network namespaces and nft"]
fn commits_are_told_with_their_generation_and_our_own_are_known_by_it() {
    let mut linux = namespace();
    let moment = Duration::from_millis(300);
    let mut notifications = RulesetNotifications::open().unwrap();
    assert_eq!(notifications.wait(moment).unwrap(), None);
    set(&mut linux, &everything());
    let generation = Some(linux.ruleset().unwrap().1);
    let ours = Committed {
        ours: true,
        firewalls: false,
        generation,
    };
    assert_eq!(notifications.wait(moment).unwrap(), Some(ours));
    run("nft", "add table ip theirs");
    run("nft", "add chain ip theirs plain");
    run("nft", "add rule ip theirs plain accept");
    assert_eq!(notifications.wait(moment).unwrap(), None, "nothing of concern");
    run(
        "nft",
        "add chain ip theirs base { type filter hook input priority 0; policy drop; }",
    );
    let told = notifications.wait(moment).unwrap().unwrap();
    assert_eq!((told.ours, told.firewalls), (false, true));
    run("nft", "flush ruleset");
    let told = notifications.wait(moment).unwrap().unwrap();
    assert_eq!((told.ours, told.firewalls), (true, true));
    assert_eq!(told.generation, linux.ruleset_generation().ok());
}

/// Whether the peer gets an answer on this TCP port of the VIP within three seconds, which slow machines need.
fn answers(peer: &Peer, port: u16) -> bool {
    let mut connect = Command::new("nsenter");
    connect.args(["-t", &peer.0.id().to_string(), "-n", "timeout", "3", "bash", "-c"]);
    let connected = connect.arg(format!("true <> /dev/tcp/{VIP}/{port}")).status();
    connected.unwrap().success()
}

#[test]
#[ignore = "needs root, network namespaces and nft"]
fn f14_packets_that_ipvs_did_not_take_are_dropped_and_ping_is_not() {
    let mut linux = namespace();
    let peer = Peer::new();
    ip("address add 192.168.56.100/32 dev eth0");
    let _listening: Vec<_> = [22, 80].map(|port| TcpListener::bind((VIP, port)).unwrap()).into();
    assert!(answers(&peer, 22));
    let local = Local::Port {
        vip: VIP,
        protocol: Protocol::Tcp,
        port: 80,
    };
    let with_local = Ruleset {
        local: BTreeSet::from([local]),
        ..guard()
    };
    set(&mut linux, &with_local);
    assert!(!answers(&peer, 22));
    assert!(answers(&peer, 80), "what IPVS hands to this node's own sockets");
    peer.run("ping -c 1 -W 1 192.168.56.100");
    let shown = run("nft", "list chain inet lvs_operator guard");
    let dropped = shown.lines().find(|line| line.contains("@vips4 counter")).unwrap();
    assert!(!dropped.contains("packets 0 "), "{shown}");
}
