//! A service of a thousand ports: what does it cost to program, to change, and to look at?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::netlink_capture::{self, Write, Writes};
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use e2e::{clock, oracle, traffic};
use serde_json::{Value, json};

use super::{group, real_server, service};
use crate::shop::{self, LIMIT, NODES};

/// Sixteen VIPs of 64 ports, the most that a VirtualService has, with five real servers each.
const VIPS: u8 = 16;
const PORTS: u16 = 64;
const REAL_SERVERS: u8 = 5;
const SERVICES: usize = VIPS as usize * PORTS as usize;
const DESTINATIONS: usize = SERVICES * REAL_SERVERS as usize;
/// Longer than any batch takes.
const PAUSE: Duration = Duration::from_millis(250);
const REQUESTS: u32 = 30;
const WEB: &str = "192.168.56.100";
/// Says each value of the switch that is not the kernel's default, and how often it looked.
const WATCH: &str = "n=0; while [ ! -e /tmp/watched ]; do read value < /proc/sys/net/ipv4/vs/run_estimation
    [ $value = 1 ] || echo is $value; n=$((n+1)); sleep 0.05; done; echo looked $n";

pub(super) fn programming(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    scene.apply(&group(&json!({})))?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let before = oracle::counters_of(&director, &format!("{WEB}:80"))?.connections;
    let watch = director.start(Program::shell(WATCH), "watch", false)?;
    loaded(scene, &director)?;
    traffic::requests(&client, &format!("http://{WEB}"), REQUESTS)?.expect_all()?;
    weights(scene, &director)?;
    director.run("touch /tmp/watched")?;
    watch.ended(LIMIT)?;
    director.run("rm /tmp/watched")?;
    let said = watch.output()?;
    scene.step(&format!("case 6, f33: run_estimation: {}", said.trim()));
    ensure!(said.starts_with("looked "), "case 6: {said}");
    let counted = || {
        let now = oracle::counters_of(&director, &format!("{WEB}:80"))?.connections;
        Ok((now - before == u64::from(REQUESTS)).then_some(now))
    };
    let (connections, _) = clock::until("every request was counted", LIMIT, counted)?;
    scene.step(&format!(
        "case 6: {connections} connections counted of {REQUESTS} requests"
    ));
    Ok(())
}

fn address(of: u8, last: u8) -> String {
    format!("192.168.56.{}", of + last)
}

/// The first to the last of its messages, against `ipvsadm -R` in a namespace of its own: neither meets destinations that
/// were deleted lately, which would be all that is measured.
fn loaded(scene: &Scene, director: &Host) -> Result<()> {
    let vips: Vec<String> = (0..VIPS).map(|one| address(110, one)).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    let ports: Vec<Value> = (0..PORTS).map(|one| json!({"port": 10_000 + one})).collect();
    let mut objects = vec![service("bulk", "bulk", &vips, &Value::from(ports), &json!({}))];
    for one in 0..REAL_SERVERS {
        objects.push(real_server(
            &format!("bulk{one}"),
            "bulk",
            &json!({"addresses": [address(60, one)]}),
        ));
    }
    let capture = netlink_capture::start(director)?;
    scene.apply(&objects.join("\n---\n"))?;
    shop::ready(scene, "bulk")?;
    let writes = capture.stop_with_times()?;
    let sum: Writes = writes.iter().collect();
    let new = [("ipvs NEW_SERVICE", SERVICES), ("ipvs NEW_DEST", DESTINATIONS)];
    scene.step(&format!("case 5: loaded: {sum}"));
    ensure!(of_ipvs(&sum) == BTreeMap::from(new), "case 5: {sum}");
    let each = busy(&writes).as_secs_f64() / (SERVICES + DESTINATIONS) as f64 * 1e6;
    let by_hand = restored(director)?;
    scene.step(&format!(
        "case 5: {each:.0} µs an entry; ipvsadm -R {by_hand:.0} µs, {:.0} times as long",
        by_hand / each
    ));
    // How many times depends on what a system call costs, which this lab cannot know of real machines.
    ensure!(each < by_hand, "case 5: slower than by hand");
    Ok(())
}

fn of_ipvs(writes: &Writes) -> BTreeMap<&str, usize> {
    let ipvs = writes.0.iter().filter(|(name, _)| name.starts_with("ipvs "));
    ipvs.map(|(name, count)| (name.as_str(), *count)).collect()
}

/// From the first to the last, without the pauses between passes.
fn busy(writes: &[Write]) -> Duration {
    let ipvs = || {
        writes
            .iter()
            .filter(|write| write.name.starts_with("ipvs "))
            .map(|write| write.at)
    };
    let gaps = ipvs().zip(ipvs().skip(1)).map(|(one, next)| next.saturating_sub(one));
    gaps.filter(|gap| *gap < PAUSE).sum()
}

/// A tenth of the same table, by ipvsadm: microseconds an entry.
fn restored(director: &Host) -> Result<f64> {
    let mut lines = String::new();
    let services = SERVICES / 10;
    for one in 0..services {
        let _: std::fmt::Result = writeln!(lines, "-A -t 192.168.56.110:{} -s rr", 10_000 + one);
        for last in 0..REAL_SERVERS {
            let _: std::fmt::Result = writeln!(
                lines,
                "-a -t 192.168.56.110:{0} -r {1}:{0} -g -w 1",
                10_000 + one,
                address(60, last)
            );
        }
    }
    let script = "ip link set lo up; cat > /tmp/bulk; read begin rest < /proc/uptime; ipvsadm -R < /tmp/bulk
        read end rest < /proc/uptime; rm /tmp/bulk; echo $begin $end";
    let restore = Program::new(["unshare", "-n", "sh", "-c", script]).input(lines);
    let said = director.guest().run(&restore)?.stdout;
    let mut times = said.split_whitespace().map(str::parse::<f64>);
    let (begin, end) = times.next().zip(times.next()).context("two times")?;
    Ok((end? - begin?) / (services * (1 + usize::from(REAL_SERVERS))) as f64 * 1e6)
}

/// Every destination gets another weight, and none is deleted in order to be added: what was deleted in the last two
/// minutes makes each new one dearer.
fn weights(scene: &Scene, director: &Host) -> Result<()> {
    let capture = netlink_capture::start(director)?;
    for one in 0..REAL_SERVERS {
        shop::patch(scene, &format!("realserver/bulk{one}"), r#"{"weight":7}"#)?;
    }
    let heavy = || {
        let table = director.shell("grep -c 'Route   7 ' /proc/net/ip_vs || true")?;
        Ok((table.trim() == DESTINATIONS.to_string()).then_some(()))
    };
    let (_, took) = clock::until("every weight has changed", LIMIT, heavy)?;
    thread::sleep(Duration::from_secs(1));
    let writes: Writes = capture.stop()?;
    scene.step(&format!("case 5: other weights after {took:.1?}: {writes}"));
    ensure!(
        of_ipvs(&writes) == BTreeMap::from([("ipvs SET_DEST", DESTINATIONS)]),
        "case 5: {writes}"
    );
    Ok(())
}
