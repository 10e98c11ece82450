//! Every probe that can go the way of clients' packets: it passes where the VIP is, and fails where it is no more.

use anyhow::{Context, Result, ensure};
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::HostPlan;
use e2e::{clock, oracle};

use super::VIP;
use super::probes::{Authority, BOUND, PACE, SLACK, TLS, manifests, said, with_certificate};
use crate::shop::{self, LIMIT};

/// A name, a port, the probe, and in the words of the lab's echo who answers it at the VIP; nothing = nginx, everywhere.
const CASES: [(&str, u16, &str, &str); 7] = [
    ("tcp", 9001, "tcp: {}", "ok"),
    ("http", 9002, "http: {bodyPattern: ok}", "ok"),
    (
        "https",
        TLS,
        "https: {serverName: shop.example, caBundle: CA_BUNDLE}",
        "",
    ),
    ("udp", 9008, "udp: {payload: cGluZw==, expectReply: true}", "echo"),
    ("dns", 9009, "dns: {name: shop.example, recordType: A}", "dns"),
    ("smtp", 9010, "smtp: {}", "smtp"),
    ("grpc", 9011, "grpc: {}", "grpc"),
];

pub(super) fn all(scene: &Scene) -> Result<()> {
    scene.lay(&[HostPlan::node("dir1", 10), HostPlan::node("rs1", 30)])?;
    for name in ["dir1", "rs1"] {
        scene.register(name)?;
        scene.start_agent(name, &AgentOptions::default())?;
    }
    scene.start_operator()?;
    let (director, rs1) = (scene.host("dir1")?, scene.host("rs1")?);
    let authority = Authority::new("ours")?;
    scene.keep(with_certificate(&rs1, &authority)?);
    let bundle = authority.bundle();
    let checks = CASES.iter().map(|(name, port, probe, _)| {
        let probe = probe.replace("CA_BUNDLE", &bundle);
        (*name, *port, format!("{probe}, through: ForwardingPath, {PACE}"))
    });
    scene.apply(&manifests(&["nodeName: rs1"], checks))?;
    let has_vip = || Ok((!oracle::holders(&rs1, VIP)?.is_empty()).then_some(()));
    clock::until("rs1 has the VIP", LIMIT, has_vip)?;
    let served = CASES.iter().filter(|(_, _, _, kind)| !kind.is_empty());
    let words = served.map(|(_, port, _, kind)| format!("{kind}={VIP}:{port}"));
    let words = ["/lab/lab-echo", "probed"].map(str::to_owned).into_iter().chain(words);
    let process = rs1.start(Program::new(words), "probed", false)?;
    process.wait_for("lab-echo: ready", LIMIT)?;
    scene.keep(process);

    let serves = |lines: &[String], port: u16| {
        lines
            .iter()
            .any(|line| line.contains(&format!(" -r 192.168.56.30:{port} ")))
    };
    let all_in = |lines: &[String]| CASES.iter().all(|(_, port, _, _)| serves(lines, *port));
    let took = shop::table(&director, "rs1 passes every probe", all_in)?;
    scene.step(&format!(
        "{} probes go by the forwarding path, and pass: in after {took:.1?}",
        CASES.len()
    ));

    scene.stop_agent("rs1", Signal::Kill)?;
    let begin = clock::now();
    rs1.run(&format!("ip address del {VIP}/32 dev lo"))?;
    let none_in = |lines: &[String]| !CASES.iter().any(|(_, port, _, _)| serves(lines, *port));
    shop::table(&director, "rs1 fails every probe", none_in)?;
    let took = begin.elapsed();
    reasons(scene)?;
    ensure!(took <= BOUND + SLACK, "after {took:?}, not within {BOUND:?}");
    // As its agent had added it.
    rs1.run(&format!("ip address add {VIP}/32 dev lo scope host proto 77"))?;
    shop::table(&director, "rs1 passes every probe again", all_in).map(drop)
}

/// Each says which real server could not be reached by which way.
fn reasons(scene: &Scene) -> Result<()> {
    let mut last = Vec::new();
    let by_path = |message: &str| message.starts_with("False: dir1: 192.168.56.30 by DR: ") && message.contains(VIP);
    let found = clock::until("every reason", LIMIT, || {
        last = said(scene, "rs1")?;
        let all = last.len() == CASES.len() && last.iter().all(|(_, message)| by_path(message));
        Ok(all.then_some(()))
    });
    found.with_context(|| format!("{last:#?}"))?;
    last.iter()
        .for_each(|(name, message)| scene.step(&format!("{name}: {message}")));
    Ok(())
}
