//! Whole passes on real kernels: a host unwraps what the IPVS of a director wraps, and then nothing of it is left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use node_agent::kernel::linux::{Linux, LinuxOptions};
use node_agent::kernel::notify::Notifications;
use node_agent::ledger::{Entry, Ledger};
use node_agent::pass::{Node, Outcome};
use node_agent::serving::Now;
use node_agent::view::{Placed, PlacementKey, Source, View};
use socket2::SockRef;

use crate::{Peer, ip, namespace, run};

type RealNode = Node<Linux, Vec<Entry>>;

const VIPS: [&str; 2] = ["203.0.113.100", "2001:db8::100"];
/// More than fits into one packet: what the tunnel takes from the MTU is found out.
const UPLOAD: usize = 50_000;

fn node(linux: Linux) -> RealNode {
    Node::new(linux, Vec::new(), Ledger::default(), "boot".to_owned())
}

fn view(spec: Option<&str>) -> View {
    let key = PlacementKey {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    };
    let placed = |spec| Placed {
        uid: "u".to_owned(),
        generation: 1,
        spec: serde_yaml::from_str(spec).unwrap(),
        not_understood: None,
        down: Default::default(),
        untested: Default::default(),
        serving: Default::default(),
    };
    View {
        source: Source::Api,
        placements: spec.map(|spec| (key, placed(spec))).into_iter().collect(),
    }
}

fn pass(node: &mut RealNode, spec: Option<&str>) -> Outcome {
    node.see(view(spec));
    let outcome = node.pass(Now::default()).unwrap();
    assert_eq!(outcome.refusals, [], "{spec:?}");
    outcome
}

/// What a director is told to do: a Placement, and then to be a client of this VIP.
type Order = (Option<String>, Option<IpAddr>);
/// The TCP segment size that its client was told.
type Answer = std::io::Result<u32>;

/// A director in the peer's namespace: a thread that is there. Each order is answered by whether its client was served.
fn director(peer: &Peer) -> (Sender<Order>, Receiver<Answer>) {
    let namespace = File::open(format!("/proc/{}/ns/net", peer.0.id())).unwrap();
    let (orders, received) = channel::<Order>();
    let (answers, answered) = channel();
    std::thread::spawn(move || {
        #[expect(unsafe_code, reason = "the standard library has no setns")]
        // SAFETY: a system call on a descriptor that is open; it moves this thread alone.
        let answer = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(answer, 0, "setns: {}", std::io::Error::last_os_error());
        let mut node = node(Linux::open(LinuxOptions {
            proc_sys_net: "/proc/sys/net".into(),
        }));
        for (spec, vip) in received {
            pass(&mut node, spec.as_deref());
            answers.send(vip.map_or(Ok(0), upload)).unwrap();
        }
    });
    (orders, answered)
}

fn upload(vip: IpAddr) -> Answer {
    let patience = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(vip, 80), patience)?;
    let segment = SockRef::from(&stream).tcp_mss()?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&[7; UPLOAD])?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    assert_eq!(said, UPLOAD.to_string());
    Ok(segment)
}

/// Says of each connection how much came.
fn serve() {
    let listener = TcpListener::bind("[::]:80").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                let _: std::io::Result<()> = stream.write_all(bytes.len().to_string().as_bytes());
            }
        }
    });
}

fn director_part(vip: &str, server: &str, tunnel: &str) -> String {
    format!(
        "
subject: {{kind: VirtualService, name: web}}
nodeName: dir1
director:
  undeclaredPorts: Accept
  addresses: [{{address: '{vip}', addressOwner: Reserved}}]
  services: [{{protocol: TCP, port: 80, scheduler: rr}}]
  realServers: [{{name: rs1, addresses: ['{server}'], weight: 1, forwardingMethod: TUN, tunnel: {tunnel}, prepared: ['{vip}']}}]
"
    )
}

fn host_part(vip: &str, server: &str, tunnel: &str) -> String {
    format!(
        "
subject: {{kind: VirtualService, name: web}}
nodeName: rs1
realServer:
  addresses: [{{address: '{vip}'}}]
  directors: [192.168.56.20, 'fd56::20']
  realServers: [{{name: rs1, addresses: ['{server}'], forwardingMethod: TUN, tunnel: {tunnel}}}]
"
    )
}

fn link() -> Peer {
    let peer = Peer::new();
    ip("address add fd56::10/64 dev eth0 nodad");
    peer.run("ip address add fd56::20/64 dev peer0 nodad");
    // Clients on the director: what its IPVS does not take goes nowhere.
    peer.run(&format!("ip route add {} via 192.168.56.99", VIPS[0]));
    peer.run(&format!("ip route add {} via fd56::99", VIPS[1]));
    peer
}

/// By counting headers.
fn fits(tunnel: &str, server: &str, vip: &str) -> u32 {
    let header = |address: &str| if address.contains(':') { 40 } else { 20 };
    let udp_and_gue = if tunnel.contains("GUE") { 8 + 4 } else { 0 };
    let remote_checksum = if tunnel.contains("Remote") { 8 } else { 0 };
    let gre = match (tunnel.contains("GRE"), tunnel.contains("Checksum")) {
        (true, true) => 8,
        (true, false) => 4,
        (false, _) => 0,
    };
    1500 - header(server) - udp_and_gue - remote_checksum - gre - header(vip) - 20
}

#[test]
#[ignore = "needs root, network namespaces, ip_vs and fou"]
fn f22_what_ipvs_wraps_by_any_type_checksum_and_family_is_served_in_segments_that_fit() {
    let linux = namespace();
    let peer = link();
    let before = ip("-o link show") + &run("ip", "fou show");
    serve();
    let (orders, answers) = director(&peer);
    let mut host = node(linux);
    let mut failures = BTreeMap::new();
    for tunnel in [
        "{type: IPIP}",
        "{type: GUE, port: 6080}",
        "{type: GUE, port: 6080, checksum: Checksum}",
        "{type: GUE, port: 6080, checksum: RemoteChecksum}",
        "{type: GRE}",
        "{type: GRE, checksum: Checksum}",
    ] {
        for server in ["192.168.56.10", "fd56::10"] {
            for vip in VIPS {
                let outcome = pass(&mut host, Some(&host_part(vip, server, tunnel)));
                let report = outcome.statuses.values().next().unwrap().real_server.as_ref().unwrap();
                assert_eq!(
                    report.real_servers[0].prepared,
                    [vip],
                    "{:?}",
                    report.real_servers[0].message
                );
                assert!(!outcome.unfinished);
                let order = (Some(director_part(vip, server, tunnel)), vip.parse().ok());
                orders.send(order).unwrap();
                let case = format!("{tunnel} to {server}, {vip}");
                match answers.recv().unwrap() {
                    // Before it sent anything that could have been too long; the option of time stamps takes 12 bytes.
                    Ok(segment) if segment <= fits(tunnel, server, vip) - 12 => {}
                    Ok(segment) => drop(failures.insert(case, format!("segments of {segment} bytes"))),
                    Err(error) => drop(failures.insert(case, error.to_string())),
                }
                orders.send((None, None)).unwrap();
                answers.recv().unwrap().unwrap();
            }
        }
    }
    assert_eq!(failures, BTreeMap::new());
    pass(&mut host, None);
    assert!(!pass(&mut host, None).unfinished);
    let left = ip("-o link show") + &run("ip", "fou show");
    let devices = |shown: &str| {
        shown
            .lines()
            .filter(|line| line.contains("lvs-") || line.contains("gue"))
            .count()
    };
    assert_eq!((devices(&before), devices(&left)), (0, 0), "{left}");
}

/// How the agent comes to know of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Notification,
    Audit,
}

#[test]
#[ignore = "needs root, network namespaces, ip_vs and fou"]
fn what_unwraps_is_repaired_when_somebody_interferes() {
    let linux = namespace();
    let peer = link();
    serve();
    let (orders, answers) = director(&peer);
    let mut host = node(linux);
    let mut notifications = Notifications::open().unwrap();
    let tunnel = "{type: GUE, port: 6080}";
    let faults = [
        ("ip link delete DEVICE", Word::Notification),
        ("ip link set DEVICE down", Word::Notification),
        ("ip address delete VIP dev DEVICE", Word::Notification),
        ("ip link set DEVICE alias mine", Word::Audit),
        ("ip fou del port 6080", Word::Audit),
        ("sysctl -q -w net.ipv4.conf.DEVICE.rp_filter=1", Word::Audit),
    ];
    for (vip, server) in VIPS.into_iter().zip(["192.168.56.10", "192.168.56.10"]) {
        let spec = host_part(vip, server, tunnel);
        pass(&mut host, Some(&spec));
        let device = ip("-o link show")
            .lines()
            .find_map(|line| Some(line.split("lvs-").nth(1)?.to_owned()));
        let device = format!("lvs-{}", device.unwrap().split('@').next().unwrap());
        orders
            .send((Some(director_part(vip, server, tunnel)), vip.parse().ok()))
            .unwrap();
        answers.recv().unwrap().unwrap();
        for (fault, word) in faults {
            if fault.starts_with("sysctl") && vip.contains(':') {
                continue;
            }
            while notifications.wait(Duration::from_millis(50)).unwrap() {}
            let fault = fault.replace("DEVICE", &device).replace("VIP", vip);
            let (program, arguments) = fault.split_once(' ').unwrap();
            run(program, arguments);
            let told = notifications.wait(Duration::from_millis(500)).unwrap();
            assert!(told || word == Word::Audit, "{fault}");
            match word {
                Word::Notification => host.network_changed(),
                Word::Audit => assert!(host.audit(1), "{fault}"),
            }
            let outcome = pass(&mut host, Some(&spec));
            assert!(!outcome.done.is_empty() && !outcome.unfinished, "{fault}");
            orders
                .send((Some(director_part(vip, server, tunnel)), vip.parse().ok()))
                .unwrap();
            assert!(answers.recv().unwrap().is_ok(), "{fault}: {:?}", outcome.done);
        }
        pass(&mut host, None);
    }
}
