//! The real kernel behind the port, each test in a network namespace of its own. What it did is judged by `ip`.
//!
//! Run as root, with iproute2: `cargo test -p node-agent --test kernel -- --include-ignored`.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command};
use std::time::Duration;

use node_agent::kernel::linux::{Linux, LinuxOptions};
use node_agent::kernel::notify::Notifications;
use node_agent::kernel::{Kernel, KernelError};
use node_agent::plan::Change;
use node_agent::state::{AddressConfig, AddressKey, AddressScope, Facts, Interface, Knob, Sysctl};

mod ipvs;
mod ruleset;
mod tunnel;
mod wrapped;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 56, 100));

/// Puts this thread, and the programs that it starts, into a network namespace of its own, with `lo` up.
fn namespace() -> Linux {
    #[expect(unsafe_code, reason = "the standard library has no unshare")]
    // SAFETY: a system call without memory; it moves this thread alone.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(answer, 0, "unshare: {}", std::io::Error::last_os_error());
    ip("link set lo up");
    Linux::open(LinuxOptions {
        proc_sys_net: "/proc/sys/net".into(),
    })
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

/// Another host, at the end of a cable from `eth0`: a process that keeps a namespace alive.
struct Peer(Child);

impl Peer {
    fn new() -> Self {
        let peer = Self(Command::new("unshare").args(["-n", "sleep", "600"]).spawn().unwrap());
        ip("link add eth0 type veth peer name peer0");
        ip("address add 192.168.56.10/24 dev eth0");
        let pid = peer.0.id();
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap() == own {
            std::thread::sleep(Duration::from_millis(5));
        }
        ip(&format!("link set peer0 netns {pid}"));
        peer.run("ip link set lo up");
        peer.run("ip address add 192.168.56.20/24 dev peer0");
        peer.run("ip link set peer0 up");
        ip("link set eth0 up");
        peer
    }

    fn attempt(&self, command: &str) -> bool {
        let arguments = format!("-t {} -n {command}", self.0.id());
        let mut command = Command::new("nsenter");
        command.args(arguments.split(' ')).output().unwrap().status.success()
    }

    fn run(&self, command: &str) -> String {
        run("nsenter", &format!("-t {} -n {command}", self.0.id()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// iproute2 shows protocols (77 = 0x4d) from 6.3 on: then that of ::1 too.
fn shows_our_mark(shown: &str) -> bool {
    shown.contains("proto 0x4d") || !shown.contains("proto kernel_lo")
}

fn key(interface: &str, address: IpAddr) -> AddressKey {
    AddressKey {
        interface: interface.to_owned(),
        address,
    }
}

fn config(scope: AddressScope, lifetime: Option<u32>) -> AddressConfig {
    AddressConfig {
        prefix_length: 32,
        scope,
        lifetime,
    }
}

fn add(interface: &str, config: AddressConfig) -> Change {
    let key = key(interface, VIP);
    Change::AddAddress { key, config }
}

fn delete(interface: &str, config: AddressConfig) -> Change {
    let key = key(interface, VIP);
    Change::DeleteAddress { key, config }
}

fn ours(linux: &mut Linux) -> BTreeMap<AddressKey, AddressConfig> {
    linux.network().unwrap().0
}

fn facts(linux: &mut Linux) -> Facts {
    linux.network().unwrap().1
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_address_is_added_read_and_deleted() {
    let mut linux = namespace();
    let host = config(AddressScope::Host, None);
    assert_eq!(linux.apply(&[add("lo", host), add("lo", host)]), [Ok(()), Ok(())]);
    let shown = ip("address show dev lo");
    assert!(shown.contains("inet 192.168.56.100/32 scope host"), "{shown}");
    assert!(shows_our_mark(&shown), "{shown}");
    assert_eq!(ours(&mut linux), BTreeMap::from([(key("lo", VIP), host)]));
    assert_eq!(
        facts(&mut linux)
            .foreign_addresses
            .get(&IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(&"lo".to_owned())
    );
    assert_eq!(linux.apply(&[delete("lo", host), delete("lo", host)]), [Ok(()), Ok(())]);
    assert_eq!(ours(&mut linux), BTreeMap::new());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_address_of_somebody_else_is_not_taken_over() {
    let mut linux = namespace();
    ip("address add 192.168.56.100/32 dev lo scope host");
    let results = linux.apply(&[add("lo", config(AddressScope::Host, None))]);
    let errno = ::ipvs::Errno::EEXIST;
    assert_eq!(results, [Err(KernelError::Refused { errno })]);
    assert_eq!(ours(&mut linux), BTreeMap::new());
    assert_eq!(facts(&mut linux).foreign_addresses.get(&VIP), Some(&"lo".to_owned()));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_interface_that_is_not_there_is_named_and_its_address_is_gone() {
    let mut linux = namespace();
    let host = config(AddressScope::Host, None);
    let interface = "eth7".to_owned();
    let missing = Err(KernelError::NoInterface { interface });
    assert_eq!(
        linux.apply(&[add("eth7", host), delete("eth7", host)]),
        [missing, Ok(())]
    );
}

#[test]
#[ignore = "needs root and network namespaces"]
fn adding_an_address_again_begins_its_lifetime_anew() {
    let mut linux = namespace();
    let lifetime = |linux: &mut Linux| ours(linux)[&key("lo", VIP)].lifetime.unwrap();
    let finite = |seconds| add("lo", config(AddressScope::Global, Some(seconds)));
    assert_eq!(linux.apply(&[finite(5)]), [Ok(())]);
    assert!((4..=5).contains(&lifetime(&mut linux)));
    assert_eq!(linux.apply(&[finite(600)]), [Ok(())]);
    assert!((598..=600).contains(&lifetime(&mut linux)));
    assert_eq!(linux.apply(&[finite(1)]), [Ok(())]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(ours(&mut linux), BTreeMap::new());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_ipv6_address_is_deprecated_and_without_duplicate_detection() {
    let mut linux = namespace();
    let key = key("lo", "fd56::100".parse().unwrap());
    let config = AddressConfig {
        prefix_length: 128,
        scope: AddressScope::Global,
        lifetime: None,
    };
    let key_again = key.clone();
    assert_eq!(linux.apply(&[Change::AddAddress { key, config }]), [Ok(())]);
    let shown = ip("-6 address show dev lo");
    let line = shown.lines().find(|line| line.contains("fd56::100/128")).unwrap();
    assert!(line.contains("nodad") && line.contains("deprecated"), "{line}");
    assert!(shows_our_mark(&shown), "{shown}");
    assert_eq!(ours(&mut linux), BTreeMap::from([(key_again.clone(), config)]));
    let key = key_again;
    assert_eq!(linux.apply(&[Change::DeleteAddress { key, config }]), [Ok(())]);
    assert_eq!(ours(&mut linux), BTreeMap::new());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn interfaces_are_told_apart_by_whether_they_speak_arp() {
    let mut linux = namespace();
    ip("link add eth0 type veth peer name eth1");
    ip("link add cni0 type bridge");
    ip("link set eth1 master cni0");
    ip("link set eth0 up");
    ip("link set eth0 arp off");
    ip("address add 10.1.0.1/24 dev cni0");
    let interfaces = facts(&mut linux).interfaces;
    let expected = |name: &str, with: fn(&mut Interface)| {
        let index = interfaces[name].index;
        let mut interface = Interface {
            index,
            mtu: interfaces[name].mtu,
            ..Interface::default()
        };
        with(&mut interface);
        assert_eq!(interfaces[name], interface, "{name}");
    };
    expected("lo", |lo| (lo.index, lo.up, lo.addressed) = (1, true, true));
    expected("eth0", |eth0| (eth0.up, eth0.veth) = (true, true));
    expected("eth1", |eth1| (eth1.arp, eth1.enslaved, eth1.veth) = (true, true, true));
    assert_eq!((interfaces["lo"].mtu, interfaces["eth0"].mtu), (65536, 1500));
    expected("cni0", |cni0| (cni0.arp, cni0.addressed) = (true, true));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn routes_of_the_main_table_are_read() {
    let mut linux = namespace();
    ip("link add eth0 type veth peer name eth1");
    for command in [
        "address add 10.1.0.1/24 dev eth0",
        "address add 10.2.0.1/24 dev eth1",
        "link set eth0 up",
        "link set eth1 up",
        "route add default via 10.1.0.254 metric 100",
        "route add 10.9.0.0/16 nexthop via 10.1.0.2 dev eth0 nexthop via 10.2.0.2 dev eth1",
        "route add 10.8.0.0/16 via 10.1.0.2 table 100",
        "route add blackhole 10.7.0.0/16",
    ] {
        ip(command);
    }
    let facts = facts(&mut linux);
    let ipv4 = facts.routes.iter().filter(|route| route.network.addr().is_ipv4());
    let shown: Vec<_> = ipv4
        .map(|route| format!("{} {} {}", route.network, route.interface, route.metric))
        .collect();
    let expected = [
        "0.0.0.0/0 eth0 100",
        "10.1.0.0/24 eth0 0",
        "10.2.0.0/24 eth1 0",
        "10.9.0.0/16 eth0 0",
        "10.9.0.0/16 eth1 0",
    ];
    assert_eq!(shown, expected);
    assert_eq!(facts.interface_to("10.2.0.7".parse().unwrap()), Some("eth1"));
    assert_eq!(facts.interface_to("192.0.2.1".parse().unwrap()), Some("eth0"));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_sysctl_is_written_in_this_namespace_and_goes_with_its_interface() {
    let mut linux = namespace();
    ip("link add eth0 type veth peer name eth1");
    let sysctl = |interface: &str| Sysctl::on(interface, Knob::ArpIgnore);
    let set = |interface| Change::SetSysctl {
        sysctl: sysctl(interface),
        value: 1,
    };
    assert_eq!(linux.sysctl(&sysctl("eth0")), Ok(Some(0)));
    assert_eq!(linux.apply(&[set("eth0")]), [Ok(())]);
    assert_eq!(run("sysctl", "-n net.ipv4.conf.eth0.arp_ignore"), "1\n");
    assert_eq!(linux.sysctl(&sysctl("all")), Ok(Some(0)));
    ip("link delete eth0");
    assert_eq!(linux.sysctl(&sysctl("eth0")), Ok(None));
    let interface = "eth0".to_owned();
    assert_eq!(
        linux.apply(&[set("eth0")]),
        [Err(KernelError::NoInterface { interface })]
    );
    let restore = Change::RestoreSysctl {
        sysctl: sysctl("eth0"),
        value: 0,
    };
    assert_eq!(linux.apply(&[restore]), [Ok(())]);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_announcement_moves_a_neighbours_entry() {
    let mut linux = namespace();
    let peer = Peer::new();
    peer.run("ip neighbour add 192.168.56.100 lladdr 02:00:00:00:00:99 dev peer0 nud stale");
    let announce = Change::Announce { key: key("eth0", VIP) };
    assert_eq!(linux.apply(&[announce]), [Ok(())]);
    let shown = ip("-o link show dev eth0");
    let mac = shown
        .split("link/ether ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let neighbour = peer.run("ip neighbour show 192.168.56.100");
    assert!(neighbour.contains(&mac), "{neighbour} should have {mac}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_probe_hears_who_has_the_address_and_silence_from_who_ignores_it() {
    let mut linux = namespace();
    let peer = Peer::new();
    assert_eq!(linux.answered("eth0", VIP), Ok(false));
    peer.run("ip address add 192.168.56.100/32 dev lo scope host");
    assert_eq!(linux.answered("eth0", VIP), Ok(true));
    peer.run("sysctl -q -w net.ipv4.conf.peer0.arp_ignore=1");
    assert_eq!(linux.answered("eth0", VIP), Ok(false));
    peer.run("ip address add 192.168.56.100/32 dev peer0");
    assert_eq!(linux.answered("eth0", VIP), Ok(true));
    assert_eq!(linux.answered("lo", VIP), Ok(false));
    let interface = "eth7".to_owned();
    assert_eq!(linux.answered("eth7", VIP), Err(KernelError::NoInterface { interface }));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_burst_of_changes_is_one_notification() {
    let _linux = namespace();
    let moment = Duration::from_millis(200);
    let mut notifications = Notifications::open().unwrap();
    assert!(!notifications.wait(moment).unwrap());
    for last in 1..=200 {
        ip(&format!("address add 10.1.0.{last}/32 dev lo"));
    }
    assert!(notifications.wait(moment).unwrap());
    assert!(!notifications.wait(moment).unwrap());
    ip("address delete 10.1.0.7/32 dev lo");
    assert!(notifications.wait(moment).unwrap());
    ip("route add blackhole 10.7.0.0/16 table 100");
    assert!(!notifications.wait(moment).unwrap());
    ip("route add blackhole 10.7.0.0/16");
    assert!(notifications.wait(moment).unwrap());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_ipv6_announcement_moves_a_neighbours_entry() {
    let mut linux = namespace();
    let peer = Peer::new();
    peer.run("ip -6 neighbour add fd56::100 lladdr 02:00:00:00:00:99 dev peer0 nud stale");
    let announce = Change::Announce {
        key: key("eth0", "fd56::100".parse().unwrap()),
    };
    assert_eq!(linux.apply(&[announce]), [Ok(())]);
    let shown = ip("-o link show dev eth0");
    let mac = shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let neighbour = peer.run("ip -6 neighbour show fd56::100");
    assert!(neighbour.contains(mac), "{neighbour} should have {mac}");
}

/// F-case of a director that comes up: who holds the VIP on `lo` is silent by itself, and who holds it on the link answers.
#[test]
#[ignore = "needs root and network namespaces"]
fn an_ipv6_probe_hears_who_has_the_address_on_the_link() {
    let mut linux = namespace();
    let peer = Peer::new();
    let vip: IpAddr = "fd56::100".parse().unwrap();
    assert_eq!(linux.answered("eth0", vip), Ok(false));
    peer.run("ip address add fd56::100/128 dev lo nodad preferred_lft 0");
    assert_eq!(linux.answered("eth0", vip), Ok(false));
    peer.run("ip address del fd56::100/128 dev lo");
    peer.run("ip address add fd56::100/128 dev peer0 nodad preferred_lft 0");
    assert_eq!(linux.answered("eth0", vip), Ok(true));
    assert_eq!(linux.answered("lo", vip), Ok(false));
}
