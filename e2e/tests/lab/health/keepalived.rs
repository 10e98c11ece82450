//! The same real servers, the same checks at the same pace and the same failures, for us and for keepalived on a director of
//! its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::guest_process::GuestProcess;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{Host, HostPlan, LAN};
use e2e::traffic;
use e2e::{clock, oracle};

use crate::shop;

/// `delay_loop 1; connect_timeout 1; retry 1; delay_before_retry 1`.
const PACE: &str = "intervalSeconds: 1, timeoutSeconds: 1, retries: 1, retryIntervalSeconds: 1";
const INTERVAL: Duration = Duration::from_secs(1);
/// 1 + 1 + 1 × (1 + 1).
const BOUND: Duration = Duration::from_secs(4);
/// With room for an emulated processor. What is not found in this time is not found.
const PATIENCE: Duration = Duration::from_secs(8);

/// Port 80 is checked by TCP, port 8080 by HTTP.
const PORTS: [(u16, &str); 2] = [(80, "TCP_CHECK"), (8080, "HTTP_GET")];

/// What happens to rs1, how it ends, and which ports are lost by it.
struct Failure {
    name: &'static str,
    begin: &'static str,
    end: &'static str,
    lost: &'static [u16],
}

const FAILURES: [Failure; 3] = [
    Failure {
        name: "500 answer",
        begin: "touch /run/beside-rs1/broken",
        end: "rm /run/beside-rs1/broken",
        lost: &[8080],
    },
    Failure {
        name: "nginx SIGSTOP",
        begin: "kill -STOP $(cat /run/beside-rs1/pid) $(pgrep -P $(cat /run/beside-rs1/pid))",
        end: "kill -CONT $(cat /run/beside-rs1/pid) $(pgrep -P $(cat /run/beside-rs1/pid))",
        // The kernel goes on taking connections for it.
        lost: &[8080],
    },
    Failure {
        name: "nginx stopped",
        begin: "kill $(cat /run/beside-rs1/pid)",
        end: "",
        lost: &[80, 8080],
    },
];

/// When a destination was last seen in the table and first seen out of it, after the failure.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    in_until: Duration,
    out_at: Option<Duration>,
}

pub(crate) fn side_by_side(scene: &Scene) -> Result<()> {
    scene.lay(&[
        HostPlan::node("dir1", 10),
        HostPlan::outsider("keepalived", LAN, 20),
        HostPlan::outsider("rs1", LAN, 30),
        HostPlan::outsider("rs2", LAN, 40),
    ])?;
    scene.register("dir1")?;
    for name in ["rs1", "rs2"] {
        scene.keep(nginx(&*scene.host(name)?)?);
    }
    scene.start_agent("dir1", &AgentOptions::default())?;
    scene.start_operator()?;
    scene.apply(&manifests())?;
    let (ours, theirs) = (scene.host("dir1")?, scene.host("keepalived")?);
    scene.keep(keepalived(&theirs)?);
    let mut rows = Vec::new();
    for failure in &FAILURES {
        for host in [&ours, &theirs] {
            shop::table(host, "both ports of both serve", |lines| lines.len() == 6)?;
        }
        rows.push((failure, fails(failure, [&ours, &theirs], &*scene.host("rs1")?)?));
    }
    scene.step(&table(&rows));
    for (failure, found) in &rows {
        for (at, (port, check)) in PORTS.iter().enumerate() {
            judge(failure, *port, found.map(|of_host| of_host[at]))
                .with_context(|| format!("{}, {check}", failure.name))?;
        }
    }
    Ok(())
}

/// What the two make of one port.
fn judge(failure: &Failure, port: u16, [ours, theirs]: [Found; 2]) -> Result<()> {
    if !failure.lost.contains(&port) {
        ensure!(
            ours.out_at.is_none(),
            "nothing is wrong with it, and it is out: {ours:?}"
        );
        return Ok(());
    }
    ensure!(ours.out_at.is_some(), "not found: {ours:?}");
    let theirs = theirs
        .out_at
        .context("keepalived did not find it: nothing to compare with")?;
    // It went between two looks: only what is certain counts.
    ensure!(
        ours.in_until <= theirs + INTERVAL,
        "keepalived had it out after {theirs:.1?}, and we had it in after {:.1?}",
        ours.in_until
    );
    Ok(())
}

/// Lets rs1 fail, and looks at both tables in turn until both have found it, or would have.
fn fails(failure: &Failure, hosts: [&Host; 2], rs1: &Host) -> Result<[[Found; 2]; 2]> {
    let begin = clock::now();
    rs1.shell(failure.begin)?;
    let mut found = [[Found::default(); 2]; 2];
    let all_found = |found: &[[Found; 2]; 2]| {
        found.iter().flatten().filter(|one| one.out_at.is_some()).count() == 2 * failure.lost.len()
    };
    // What is not lost is watched as long as it would take to lose it.
    while begin.elapsed() < BOUND || (begin.elapsed() < PATIENCE && !all_found(&found)) {
        for (host, found) in hosts.iter().zip(&mut found) {
            look(host, found, begin)?;
        }
    }
    if !failure.end.is_empty() {
        rs1.shell(failure.end)?;
    }
    Ok(found)
}

fn look(host: &Host, found: &mut [Found; 2], begin: Instant) -> Result<()> {
    let before = begin.elapsed();
    let lines = oracle::ipvs(host)?;
    for ((port, _), found) in PORTS.iter().zip(found) {
        let destination = format!("-r 192.168.56.30:{port} ");
        if lines.iter().any(|line| line.contains(&destination)) {
            found.in_until = before;
        } else {
            found.out_at.get_or_insert(begin.elapsed());
        }
    }
    Ok(())
}

/// For people, who read it in the log.
fn table(rows: &[(&Failure, [[Found; 2]; 2])]) -> String {
    let words = |found: Found| {
        found
            .out_at
            .map_or("stays in".to_owned(), |out| format!("{:.1} s", out.as_secs_f64()))
    };
    let mut text = format!(
        "{:<16} {:<10} {:>10} {:>10}\n",
        "failure", "check", "ours", "keepalived"
    );
    for (failure, [ours, theirs]) in rows {
        for (at, (_, check)) in PORTS.iter().enumerate() {
            let line = format!(
                "   {:<16} {check:<10} {:>10} {:>10}\n",
                failure.name,
                words(ours[at]),
                words(theirs[at])
            );
            text.push_str(&line);
        }
    }
    text
}

/// Answers 500 while there is a file `broken`.
fn nginx(host: &Host) -> Result<GuestProcess> {
    let folder = format!("/run/beside-{}", host.name);
    let listen: String = PORTS.iter().map(|(port, _)| format!("listen {port}; ")).collect();
    let http = format!(
        "keepalive_timeout 0;
            server {{
                {listen}
                location / {{ if (-f {folder}/broken) {{ return 500; }} return 200 \"ok\\n\"; }}
            }}"
    );
    traffic::nginx_with(host, &folder, &http)
}

fn manifests() -> String {
    let mut documents = vec![
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned(),
        "apiVersion: lvs-operator.io/v1alpha1\nkind: DirectorGroup\nmetadata: {name: default}\nspec:\n  \
         nodeSelector: {matchLabels: {lvs-operator.io/director: 'true'}}\n  interface: eth0\n  \
         allowedNamespaces: {from: All}\n  allowedCIDRs: [192.168.56.0/24]\n"
            .to_owned(),
    ];
    for (name, last) in [("rs1", 30), ("rs2", 40)] {
        documents.push(format!(
            "apiVersion: lvs-operator.io/v1alpha1\nkind: RealServer\n\
             metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}\nspec: {{addresses: [192.168.56.{last}]}}\n"
        ));
    }
    for ((port, _), probe) in PORTS.iter().zip(["tcp: {}", "http: {expectedStatuses: ['200']}"]) {
        documents.push(format!(
            "apiVersion: lvs-operator.io/v1alpha1\nkind: VirtualService\nmetadata: {{name: web-{port}, namespace: shop}}\nspec:\n  \
             addresses: [{{address: 192.168.56.100}}]\n  ports: [{{port: {port}}}]\n  scheduler: rr\n  \
             healthChecks: [{{{probe}, {PACE}}}]\n  realServerSelector: {{matchLabels: {{app: web}}}}\n"
        ));
    }
    documents.join("---\n")
}

/// keepalived as a director, with a VIP of its own. Its checkers alone: who has the VIP is not the question.
fn keepalived(host: &Host) -> Result<GuestProcess> {
    let mut text = "global_defs {\n  router_id beside\n}\n".to_owned();
    let pace = "connect_timeout 1\n      retry 1\n      delay_before_retry 1";
    for (port, check) in PORTS {
        let ask = match check {
            "HTTP_GET" => "url { path / \n status_code 200 }\n      ",
            _ => "",
        };
        let servers: String = [30, 40]
            .iter()
            .map(|last| {
                format!("  real_server 192.168.56.{last} {port} {{\n    weight 1\n    {check} {{\n      {ask}{pace}\n    }}\n  }}\n")
            })
            .collect();
        text.push_str(&format!(
            "virtual_server 192.168.56.101 {port} {{\n  delay_loop 1\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n{servers}}}\n"
        ));
    }
    host.guest()
        .write("/run/beside/keepalived.conf", 0o644, text.as_bytes())?;
    host.run("ip address add 192.168.56.101/32 dev eth0")?;
    let line = "keepalived --dont-fork --log-console --log-detail --check --use-file /run/beside/keepalived.conf \
                --pid /run/beside/pid --checkers_pid /run/beside/checkers.pid";
    let process = host.start(Program::line(line), "keepalived", false)?;
    let serves = shop::table(host, "keepalived serves both ports", |lines| lines.len() == 6);
    serves.with_context(|| process.output().unwrap_or_default())?;
    Ok(process)
}
