//! Somebody else changes what is ours: how soon is it as it was? And is what is theirs left alone?

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::traffic::RunningClient;
use e2e::{clock, netlink_capture, oracle};

use crate::shop::{self, LIMIT, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[("drift::is_repaired_and_strangers_stay", drift)];

/// Of the agents here; a longer one would only make the tests longer.
const AUDIT: Duration = Duration::from_secs(3);
const FLUSH: Duration = Duration::from_millis(1500);
const AT_ONCE: Duration = Duration::from_millis(500);

/// Looks into files without a fork: a process costs as much here as a repair.
const HAS: &str = "has() { while read -r line; do case $line in *\"$2\"*) return 0;; esac; done < $1; return 1; }";
/// 192.168.56.100:80, rs1 and rs2, as the kernel writes them.
const SERVES: &str = "has /proc/net/ip_vs 'C0A83864:0050 rr' && has /proc/net/ip_vs '-> C0A8381E:0050      Route   1 ' \
    && has /proc/net/ip_vs '-> C0A83828:0050      Route   1 '";
const HAS_VIP: &str = "has /proc/net/fib_trie 192.168.56.100";

struct Disturbance {
    host: &'static str,
    by: &'static str,
    healed: &'static str,
    within: Duration,
}

const fn disturbance(host: &'static str, by: &'static str, healed: &'static str, within: Duration) -> Disturbance {
    Disturbance {
        host,
        by,
        healed,
        within,
    }
}

/// A flush takes strangers along, so these come before there are any.
const FLUSHES: &[Disturbance] = &[
    disturbance("dir1", "ipvsadm -C", SERVES, FLUSH),
    // As many services as before: their number alone tells nothing.
    disturbance(
        "dir1",
        "ipvsadm -C; ipvsadm -A -t 192.168.56.10:8080 -s rr",
        SERVES,
        FLUSH,
    ),
];

const DISTURBANCES: &[Disturbance] = &[
    disturbance("dir1", "ip address del 192.168.56.100/32 dev eth0", HAS_VIP, AT_ONCE),
    disturbance("rs1", "ip address del 192.168.56.100/32 dev lo", HAS_VIP, AT_ONCE),
    disturbance(
        "dir1",
        "ip link set eth0 down; ip -4 address flush dev eth0; ip link set eth0 up; \
         ip address add fd56::10/64 dev eth0 nodad; ip address add 192.168.56.10/24 dev eth0",
        HAS_VIP,
        AT_ONCE,
    ),
    disturbance(
        "rs1",
        "ip link add eth7 type veth peer name eth8; ip link set eth7 up; ip address add 10.78.0.1/24 dev eth7",
        "read value < /proc/sys/net/ipv4/conf/eth7/arp_ignore; [ $value = 1 ]",
        AT_ONCE,
    ),
    disturbance(
        "dir1",
        "ipvsadm -d -t 192.168.56.100:80 -r 192.168.56.30:80",
        SERVES,
        AUDIT,
    ),
    disturbance(
        "dir1",
        "ipvsadm -e -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 5",
        SERVES,
        AUDIT,
    ),
    disturbance("dir1", "ipvsadm -E -t 192.168.56.100:80 -s sed", SERVES, AUDIT),
    disturbance(
        "dir1",
        "ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.99:80 -g",
        "! has /proc/net/ip_vs C0A83863:0050",
        AUDIT,
    ),
    disturbance(
        "rs1",
        "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0",
        "read value < /proc/sys/net/ipv4/conf/eth0/arp_ignore; [ $value = 1 ]",
        AUDIT,
    ),
];

/// What strangers own on the director: made, looked for, and taken back.
const STRANGERS: &str =
    "ipvsadm -A -t 192.168.56.10:8080 -s lc; ipvsadm -a -t 192.168.56.10:8080 -r 192.168.56.40:80 -m
    ipvsadm -A -f 7 -s rr; ipvsadm -A -u 192.168.56.100:53 -s rr
    nft add table ip stranger; nft add chain ip stranger input; nft add rule ip stranger input tcp dport 9 drop
    ip address add 10.77.0.1/32 dev lo";
const LOOK: &str = "ipvsadm -Sn | grep -v -e ':80 -s' -e '100:80 ' | grep .; nft list table ip stranger
    ip -o address show dev lo | grep 10.77.0.1";
const NO_STRANGERS: &str = "ipvsadm -D -t 192.168.56.10:8080; ipvsadm -D -f 7; ipvsadm -D -u 192.168.56.100:53
    nft delete table ip stranger; ip address del 10.77.0.1/32 dev lo";

fn drift(scene: &Scene) -> Result<()> {
    // The flushes with the audit that is the default: it could hide that the cheap look sees nothing.
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let running = RunningClient::start(&*scene.host("client")?, "http://192.168.56.100", 25)?;
    let mut slow = play(scene, FLUSHES)?;
    audit_often(scene)?;
    let dir1 = scene.host("dir1")?;
    dir1.run("ipvsadm -D -t 192.168.56.10:8080")?;
    dir1.shell(STRANGERS)?;
    let strangers = dir1.shell(LOOK)?;
    slow.extend(play(scene, DISTURBANCES)?);
    ensure!(
        dir1.shell(LOOK)? == strangers,
        "not left alone:\n{strangers}\n{}",
        dir1.shell(LOOK)?
    );
    scene.step(&format!("strangers stayed: {}", strangers.lines().count()));
    calm(scene, &dir1)?;
    let answers = running.stop()?;
    scene.step(&format!("a client, all the time: {answers}"));
    told(scene)?;
    ensure!(slow.is_empty(), "too slow: {slow:#?}");
    dir1.shell(NO_STRANGERS)?;
    scene.host("rs1")?.run("ip link del eth7")?;
    shop::close(scene, "dr", &before)
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

/// Returns those that took longer than they may.
fn play(scene: &Scene, disturbances: &[Disturbance]) -> Result<Vec<String>> {
    let mut slow = Vec::new();
    for Disturbance {
        host,
        by,
        healed,
        within,
    } in disturbances
    {
        let machine = scene.host(host)?;
        let disturb = format!("{HAS}; {by}");
        let took = oracle::healed_after(&machine, &disturb, healed, LIMIT)?;
        let line = format!("{took:>6.2?} of {within:?}  {host}: {by}");
        scene.step(&line);
        if took > *within {
            slow.push(line);
        }
        // The next one is another's doing, not the same breath.
        thread::sleep(Duration::from_millis(300));
    }
    Ok(slow)
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
