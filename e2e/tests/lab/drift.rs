//! Somebody else changes what is ours: how soon is it as it was? And is what is theirs left alone?

#[path = "drift/rows.rs"]
pub(crate) mod rows;
#[path = "drift/table.rs"]
mod table;

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::{clock, netlink_capture};

use crate::shop::{self, LIMIT, NODES};
use table::Clients;

pub(crate) const TESTS: &[(&str, Test)] = &[("drift::is_repaired_and_strangers_stay", drift)];

/// Of the agents here; a longer one would only make the tests longer.
const AUDIT: Duration = Duration::from_secs(3);

/// Ways that packets take to a real server, and for each a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Dr,
    Tun,
    FullNat,
    FullNatIpv6,
}

impl Client {
    const ALL: [Self; 4] = [Self::Dr, Self::Tun, Self::FullNat, Self::FullNatIpv6];

    fn name(self) -> &'static str {
        match self {
            Self::Dr => "DR",
            Self::Tun => "TUN",
            Self::FullNat => "FullNAT",
            Self::FullNatIpv6 => "FullNAT of IPv6",
        }
    }

    fn url(self) -> &'static str {
        match self {
            Self::Dr => "http://192.168.56.100",
            Self::Tun => "http://192.168.56.151",
            Self::FullNat => "http://192.168.56.160",
            Self::FullNatIpv6 => "http://[fd56::160]",
        }
    }
}

/// Beside the example's service by DR: each other method, so that everything that lvs-operator sets is there to be disturbed.
const MORE: &str = "apiVersion: lvs-operator.io/v1alpha1
kind: RealServer
metadata: {name: tunnel1, namespace: shop, labels: {app: tunnel}}
spec: {nodeName: rs1, addresses: [192.168.56.30]}
---
apiVersion: lvs-operator.io/v1alpha1
kind: RealServer
metadata: {name: tunnel2, namespace: shop, labels: {app: tunnel}}
spec: {nodeName: rs2, addresses: [192.168.56.40]}
---
apiVersion: lvs-operator.io/v1alpha1
kind: RealServer
metadata: {name: plain1, namespace: shop, labels: {app: plain}}
spec: {addresses: [192.168.56.30, 'fd56::30']}
---
apiVersion: lvs-operator.io/v1alpha1
kind: RealServer
metadata: {name: plain2, namespace: shop, labels: {app: plain}}
spec: {addresses: [192.168.56.40, 'fd56::40']}
---
apiVersion: lvs-operator.io/v1alpha1
kind: VirtualService
metadata: {name: tunnel, namespace: shop}
spec:
  addresses: [{address: 192.168.56.151}]
  ports: [{port: 80}]
  scheduler: rr
  forwardingMethod: TUN
  tunnel: {type: GUE, port: 6080}
  realServerSelector: {matchLabels: {app: tunnel}}
---
apiVersion: lvs-operator.io/v1alpha1
kind: VirtualService
metadata: {name: full-nat, namespace: shop}
spec:
  addresses: [{address: 192.168.56.160}, {address: 'fd56::160'}]
  ports: [{port: 80}]
  scheduler: rr
  forwardingMethod: FullNAT
  realServerSelector: {matchLabels: {app: plain}}
---
apiVersion: lvs-operator.io/v1alpha1
kind: VirtualService
metadata: {name: nat, namespace: shop}
spec:
  addresses: [{address: 192.168.56.130}]
  ports: [{port: 80}]
  forwardingMethod: NAT
  persistence: {}
  realServerSelector: {matchLabels: {app: plain}}
";
/// Nobody's default.
const GROUP: &str = r#"{"spec": {"timeouts": {"tcpSeconds": 901, "tcpFinSeconds": 121, "udpSeconds": 301},
    "allowedCIDRs": ["192.168.56.0/24", "fd56::/64"]}}"#;

/// What strangers own on the director: made, looked for, and taken back.
const STRANGERS: &str =
    "ipvsadm -A -t 192.168.56.10:8080 -s lc; ipvsadm -a -t 192.168.56.10:8080 -r 192.168.56.40:80 -m
    ipvsadm -A -f 7 -s rr; ipvsadm -A -u 192.168.56.100:53 -s rr
    nft add table ip stranger; nft add chain ip stranger input; nft add rule ip stranger input tcp dport 9 drop
    ip address add 10.77.0.1/32 dev lo";
const LOOK: &str =
    "ipvsadm -Sn | grep -e ' 192.168.56.10:8080 ' -e ' -f 7 ' -e ' 192.168.56.100:53 '; nft list table ip stranger
    ip -o address show dev lo | grep 10.77.0.1";
/// What stands in place of our services after one of the flushes.
const NO_REPLACEMENTS: &str = "for port in $(ipvsadm -Sn | sed -n 's/^-A -t 192.168.56.10:\\([0-9]*\\) .*/\\1/p'); do
        ipvsadm -D -t 192.168.56.10:$port; done";
const NO_STRANGERS: &str = "ipvsadm -D -t 192.168.56.10:8080; ipvsadm -D -f 7; ipvsadm -D -u 192.168.56.100:53
    nft delete table ip stranger; ip address del 10.77.0.1/32 dev lo";

fn drift(scene: &Scene) -> Result<()> {
    // The flushes with the audit that is the default: it could hide that the cheap look sees nothing.
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    serve(scene)?;
    let clients = Clients::start(scene)?;
    let mut played = table::play(scene, rows::flushes())?;
    audit_often(scene)?;
    let dir1 = scene.host("dir1")?;
    dir1.shell(NO_REPLACEMENTS)?;
    dir1.shell(STRANGERS)?;
    let strangers = dir1.shell(LOOK)?;
    played.extend(table::play(scene, rows::others())?);
    ensure!(
        dir1.shell(LOOK)? == strangers,
        "not left alone:\n{strangers}\n{}",
        dir1.shell(LOOK)?
    );
    scene.step(&format!("strangers stayed: {}", strangers.lines().count()));
    calm(scene, &dir1)?;
    table::judged(scene, played, clients)?;
    told(scene)?;
    dir1.shell(NO_STRANGERS)?;
    scene.host("rs1")?.run("ip link del eth7")?;
    scene.delete(MORE)?;
    shop::close(scene, "dr", &before)
}

/// A service by each method.
fn serve(scene: &Scene) -> Result<()> {
    shop::serve(scene, "dr", "web")?;
    let patch = ["patch", "directorgroup", "default", "--type=merge", "-p", GROUP];
    scene.control_plane().kubectl(&patch, None)?;
    scene.apply(MORE)?;
    for service in ["tunnel", "full-nat", "nat"] {
        shop::ready(scene, service)?;
    }
    Ok(())
}

fn audit_often(scene: &Scene) -> Result<()> {
    let flags = vec!["--audit-seconds".to_owned(), AUDIT.as_secs().to_string()];
    let options = AgentOptions {
        flags,
        ..AgentOptions::default()
    };
    for name in ["dir1", "rs1"] {
        scene.stop_agent(name, Signal::Terminate)?;
        scene.start_agent_again(name, &options)?;
        shop::agent_ready(scene, name)?;
    }
    Ok(())
}

/// Whoever repairs for ever, repairs himself.
fn calm(scene: &Scene, director: &Host) -> Result<()> {
    let capture = netlink_capture::start(director)?;
    thread::sleep(AUDIT + Duration::from_secs(1));
    let writes = capture.stop()?;
    scene.step(&format!("an audit later: {writes}"));
    ensure!(writes.total() == 0, "{writes}");
    Ok(())
}

/// Events and metrics say what was repaired.
fn told(scene: &Scene) -> Result<()> {
    for (host, part) in [
        ("dir1", "ipvsadm -A -t 192.168.56.100:80"),
        ("rs1", "ip address add 192.168.56.100/32 dev lo"),
    ] {
        let event = || {
            let events = scene.control_plane().get(&["-n", "shop", "events.events.k8s.io"])?;
            let mut events = events["items"].as_array().cloned().unwrap_or_default().into_iter();
            let found = events.find(|event| {
                let text = |pointer: &str| {
                    event
                        .pointer(pointer)
                        .and_then(|value| value.as_str())
                        .unwrap_or_default()
                };
                text("/reason") == "Repaired" && text("/regarding/kind") == "Placement" && text("/note").contains(part)
            });
            Ok(found.map(|event| event["note"].to_string()))
        };
        let (note, _) = clock::until("an Event says it", LIMIT, event)?;
        let metrics = scene.host(host)?.run("curl -sS http://127.0.0.1:9479/metrics")?;
        let drift: Vec<_> = metrics
            .lines()
            .filter(|line| line.starts_with("lvs_agent_kernel_drift_total"))
            .collect();
        scene.step(&format!("{host}: {note}; {}", drift.join(", ")));
        let repaired = drift
            .iter()
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
            .sum::<u32>();
        ensure!(repaired >= 2, "{host} counts {repaired} repairs");
    }
    Ok(())
}
