//! Passes over real servers that leave, fail and come back.

use std::net::SocketAddr;
use std::time::Duration;

use crds::OnFailure;
use health::Moment;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::checks::Down;
use crate::kernel::Connection;

fn leaving() -> String {
    DIRECTOR.replace("weight: 1,", "weight: 1, leaving: true,")
}

fn at(seconds: u64) -> Now {
    let since_boot = Duration::from_secs(seconds);
    Now {
        moment: Moment::since_boot(since_boot),
        clock: Timestamp::UNIX_EPOCH + SignedDuration::try_from(since_boot).unwrap(),
    }
}

fn rs1() -> DestinationKey {
    DestinationKey::new("192.168.56.30".parse().unwrap(), 80)
}

/// Of a client of rs1, of one of rs2, and of the node's own probe of rs1.
fn connections() -> [Connection; 3] {
    let connection = |client: &str, server: &str| Connection {
        protocol: ipvs::Protocol::Tcp,
        client: client.parse().unwrap(),
        vip: "192.168.56.100:80".parse().unwrap(),
        destination: DestinationKey::new(server.parse().unwrap(), 80),
        expires: Duration::from_secs(900),
    };
    [
        connection("192.168.56.20:40000", "192.168.56.30"),
        connection("192.168.56.20:40001", "192.168.56.40"),
        connection("192.168.56.10:40002", "192.168.56.30"),
    ]
}

fn connect(node: &mut TestNode) {
    node.kernel().set_active(service(), rs1(), 1);
    node.kernel().set_connections(connections());
}

fn state(outcome: &Outcome) -> (DestinationState, Option<String>) {
    let server = &status(outcome).director.as_ref().unwrap().real_servers[0];
    (
        server.state,
        server.drains_until.as_ref().map(|until| until.0.to_string()),
    )
}

/// Each has its own port: one that has drained is not there because the other is.
#[test]
fn of_two_real_servers_with_one_address_each_has_its_own_state() {
    let both = DIRECTOR
        .replace("192.168.56.40", "192.168.56.30")
        .replace("forwardingMethod: DR", "forwardingMethod: NAT")
        .replace("weight: 1,", "weight: 1, port: 8080,")
        .replace("weight: 3,", "weight: 3, port: 8081,");
    let states = |outcome: &Outcome| {
        let servers = &status(outcome).director.as_ref().unwrap().real_servers;
        servers.iter().map(|server| server.state).collect::<Vec<_>>()
    };
    let mut node = node();
    let outcome = pass(&mut node, &api(&both));
    assert_eq!(states(&outcome), [DestinationState::Serving, DestinationState::Serving]);
    let leaving = both.replace("weight: 1,", "weight: 1, leaving: true,");
    node.see(api(&leaving));
    let outcome = node.pass(at(100)).unwrap();
    assert_eq!(
        states(&outcome),
        [DestinationState::Draining, DestinationState::Serving]
    );
    let outcome = node.pass(at(101)).unwrap();
    assert_eq!(states(&outcome), [DestinationState::Drained, DestinationState::Serving]);
}

/// Also where a real server with another address has the port.
#[test]
fn what_is_left_at_a_former_port_is_of_who_had_it() {
    let at_port = |port: &str| {
        DIRECTOR
            .replace("forwardingMethod: DR", "forwardingMethod: NAT")
            .replace("weight: 1,", &format!("weight: 1, port: {port},"))
            .replace("weight: 3,", "weight: 3, port: 8080,")
    };
    let mut node = node();
    pass(&mut node, &api(&at_port("8080")));
    let former = DestinationKey::new("192.168.56.30".parse().unwrap(), 8080);
    node.kernel().refuse_ipvs(service(), Some(former), Errno::ENOMEM);
    let outcome = pass(&mut node, &api(&at_port("8082")));
    assert_eq!(state(&outcome).0, DestinationState::Leaving);
}

#[test]
fn f1_a_drain_is_cut_at_its_deadline_and_clients_are_told() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    connect(&mut node);
    node.see(api(&leaving()));
    let outcome = node.pass(at(100)).unwrap();
    check(
        &outcome.done,
        &expect![[r"
        ipvsadm -e -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 0
    "]],
    );
    assert_eq!(
        state(&outcome),
        (DestinationState::Draining, Some("1970-01-01T00:02:40Z".to_owned()))
    );
    assert_eq!(node.due(), Some(at(101).moment));
    let outcome = node.pass(at(130)).unwrap();
    assert!(outcome.done.is_empty());
    assert_eq!(
        outcome.reach,
        Reach::Changes,
        "a look at what drains is not one at everything"
    );
    assert_eq!(node.draining().values().sum::<u64>(), 1);

    let outcome = node.pass(at(160)).unwrap();
    check(
        &outcome.done,
        &expect![[r#"
            nft add set inet lvs_operator cut4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; }
            nft add chain inet lvs_operator cutting { type filter hook input priority 90; policy accept; }
            nft add element inet lvs_operator cut4 { 192.168.56.20 . 40000 . 192.168.56.100 . 80 }
            nft add rule inet lvs_operator cutting ip saddr . tcp sport . ip daddr . tcp dport @cut4 reject with tcp reset
            ipvsadm -d -t 192.168.56.100:80 -r 192.168.56.30:80
        "#]],
    );
    assert_eq!(state(&outcome), (DestinationState::Drained, None));
    // An agent that restarts leaves them as they are; the time is IPVS's.
    let mut node = restarted(node);
    let mut connection = connections()[0];
    connection.expires = Duration::from_secs(860);
    node.kernel().set_connections([connection]);
    node.see(api(&leaving()));
    assert!(node.pass(at(200)).unwrap().done.is_empty());
    // They end when IPVS has forgotten the connection.
    node.kernel().set_connections([]);
    assert_eq!(node.due(), Some(at(1060).moment));
    assert!(node.pass(at(1059)).unwrap().done.is_empty());
    let outcome = node.pass(at(1060)).unwrap();
    assert_eq!(outcome.done.len(), 1);
    assert!(node.kernel().nftables().cut.is_empty());
    assert_eq!((node.due(), outcome.unfinished), (None, false));
}

#[test]
fn f2_an_agent_that_restarts_while_one_drains_changes_nothing_and_ends_it_in_time() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    connect(&mut node);
    node.see(api(&leaving()));
    node.pass(at(100)).unwrap();
    let mut node = restarted(node);
    for source in [Source::Disk, Source::Api] {
        node.see(view(source, 1, &leaving()));
        let outcome = node.pass(at(150)).unwrap();
        assert!(outcome.done.is_empty(), "{:?}", outcome.done);
        assert_eq!(state(&outcome).1, Some("1970-01-01T00:02:40Z".to_owned()));
    }
    assert_eq!(node.pass(at(160)).unwrap().done.len(), 2);
}

/// Without the API server, and after a restart, the agent goes by what it remembers: that one of these is absent says
/// nothing, but that one of these fails does.
#[test]
fn what_is_decided_here_needs_no_complete_list() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let mut node = restarted(node);
    node.see(view(Source::Disk, 1, DIRECTOR));
    assert!(node.pass(at(100)).unwrap().done.is_empty());
    let mut placed = node.view().placements[&key()].clone();
    let destination = ("rs1".to_owned(), SocketAddr::new(rs1().address, rs1().port), None);
    let down = Down {
        words: "refused".to_owned(),
        tested: true,
        on_failure: OnFailure::Remove,
    };
    placed.down.insert(destination, down);
    node.place(key(), Some(placed.clone()));
    let outcome = node.pass(at(101)).unwrap();
    check(
        &outcome.done,
        &expect![[r"
        ipvsadm -d -t 192.168.56.100:80 -r 192.168.56.30:80
    "]],
    );
    assert_eq!(state(&outcome).0, DestinationState::Down);
    // One that is absent stays.
    placed.spec.director.as_mut().unwrap().real_servers.clear();
    node.place(key(), Some(placed));
    assert!(node.pass(at(102)).unwrap().done.is_empty());
}

#[test]
fn a_ledger_that_cannot_be_written_lets_nobody_go() {
    let mut node = node();
    pass(&mut node, &api(DIRECTOR));
    let (kernel, journal) = node.into_parts();
    let mut node = Node::new(
        kernel,
        crate::ledger::NoJournal,
        Ledger::from_entries(&journal),
        "boot-1".to_owned(),
    );
    node.see(api(&leaving()));
    assert!(matches!(node.pass(at(100)), Err(KernelError::Io(_))));
    assert_eq!(
        node.kernel().ipvs().table().services[&service()].destinations[&rs1()].weight,
        1
    );
}
