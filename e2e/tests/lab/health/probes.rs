//! Every probe, beside a real server that passes one that fails, in the ways in which real ones fail.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::condition_of;
use e2e::guest_process::GuestProcess;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{Host, HostPlan, LAN};
use e2e::traffic;
use e2e::{clock, oracle};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::shop::LIMIT;

/// Each two seconds, two seconds at most, one retry two seconds later: 2 + 2 + 1 × (2 + 2).
pub(super) const PACE: &str = "intervalSeconds: 2, timeoutSeconds: 2, retries: 1, retryIntervalSeconds: 2";
pub(super) const BOUND: Duration = Duration::from_secs(8);
/// Twelve services are placed, and dozens of probes made, on an emulated processor.
pub(super) const SLACK: Duration = Duration::from_secs(20);
/// Where nginx shows certificates.
pub(super) const TLS: u16 = 9443;

/// One check on one port.
struct Case {
    name: &'static str,
    port: u16,
    probe: &'static str,
    /// What rs1 and rs2 do on this port, in the words of the lab's echo; nothing = no such server of its.
    servers: [&'static str; 2],
    /// What is said of rs1.
    words: &'static str,
}

const CASES: [Case; 12] = [
    case(
        "full-queue",
        9001,
        "tcp: {}",
        ["deaf", "ok"],
        "no connection to 192.168.56.30:9001 within 2 s, 2 of 2",
    ),
    case(
        "status",
        9002,
        "http: {}",
        ["broken", "ok"],
        "GET / of 192.168.56.30:9002: status 500, not 200-299, 2 of 2",
    ),
    case(
        "drip",
        9003,
        "http: {bodyPattern: ok}",
        ["drip", "ok"],
        "no complete answer of 192.168.56.30:9003 within 2 s, 2 of 2",
    ),
    case(
        "endless",
        9004,
        "http: {bodyPattern: ok}",
        ["endless", "ok"],
        "GET / of 192.168.56.30:9004: the body is longer than 256 KiB, 2 of 2",
    ),
    case(
        "body",
        9005,
        "http: {bodySHA256: dc51b8c96c2d745df3bd5590d990230a482fd247123599548e0632fdbf97fc22}",
        ["other", "ok"],
        "not dc51b8c9…, 2 of 2",
    ),
    case(
        "reset",
        9006,
        "http: {}",
        ["reset", "ok"],
        "GET / of 192.168.56.30:9006: connection reset, 2 of 2",
    ),
    case(
        "certificate",
        TLS,
        "https: {serverName: shop.example, caBundle: CA_BUNDLE}",
        ["", ""],
        "TLS with 192.168.56.30:9443: the certificate is of an unknown authority, 2 of 2",
    ),
    case(
        "udp",
        9008,
        "udp: {payload: cGluZw==, expectReply: true}",
        ["", "echo"],
        "datagram to 192.168.56.30:9008: port unreachable, 2 of 2",
    ),
    case(
        "dns",
        9009,
        "dns: {name: shop.example, recordType: A}",
        ["dns-nothing", "dns"],
        "A of \"shop.example.\" from 192.168.56.30:9009: NXDOMAIN, 2 of 2",
    ),
    case(
        "smtp",
        9010,
        "smtp: {helo: probe.example}",
        ["smtp-refuses", "smtp"],
        "SMTP banner of 192.168.56.30:9010: \"554 no mail today\", not 220, 2 of 2",
    ),
    case(
        "grpc",
        9011,
        "grpc: {}",
        ["grpc-not-serving", "grpc"],
        "gRPC health of 192.168.56.30:9011: NOT_SERVING, not SERVING, 2 of 2",
    ),
    case(
        "ping",
        9012,
        "ping: {}",
        ["", ""],
        "no answer of 192.168.56.30 within 2 s, 2 of 2",
    ),
];

const fn case(
    name: &'static str,
    port: u16,
    probe: &'static str,
    servers: [&'static str; 2],
    words: &'static str,
) -> Case {
    Case {
        name,
        port,
        probe,
        servers,
        words,
    }
}

/// Of each service rs1 goes, for the reason that it should, and rs2 stays.
pub(crate) fn each_fails_and_passes(scene: &Scene) -> Result<()> {
    scene.lay(&[
        HostPlan::node("dir1", 10),
        HostPlan::outsider("rs1", LAN, 30),
        HostPlan::outsider("rs2", LAN, 40),
    ])?;
    scene.register("dir1")?;
    let (rs1, rs2) = (scene.host("rs1")?, scene.host("rs2")?);
    let (ours, others) = (Authority::new("ours")?, Authority::new("theirs")?);
    for (host, authority, at) in [(&rs1, &others, 0), (&rs2, &ours, 1)] {
        let served = CASES.iter().filter(|case| !case.servers[at].is_empty());
        let words = served.map(|case| format!("{}={}:{}", case.servers[at], host.address, case.port));
        let words = ["/lab/lab-echo", "probed"].map(str::to_owned).into_iter().chain(words);
        let process = host.start(Program::new(words), "probed", false)?;
        process.wait_for("lab-echo: ready", LIMIT)?;
        scene.keep(process);
        scene.keep(with_certificate(host, authority)?);
    }
    rs1.run("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")?;
    scene.start_agent("dir1", &AgentOptions::default())?;
    scene.start_operator()?;

    let begin = clock::now();
    let bundle = ours.bundle();
    let checks = CASES.iter().map(|case| {
        let probe = case.probe.replace("CA_BUNDLE", &bundle);
        (case.name, case.port, format!("{probe}, initialState: Healthy, {PACE}"))
    });
    let servers = ["addresses: [192.168.56.30]", "addresses: [192.168.56.40]"];
    scene.apply(&manifests(&servers, checks))?;
    let director = scene.host("dir1")?;
    judged(scene, &director)?;
    let took = begin.elapsed();
    scene.step(&format!(
        "{} probes: rs1 is out of each service and rs2 in, {took:.1?} after the apply",
        CASES.len()
    ));
    ensure!(took <= BOUND + SLACK, "after {took:?}, not within {BOUND:?}");
    reasons(scene)?;
    for reason in ["Unhealthy", "Healthy"] {
        let about = if reason == "Healthy" { "rs2" } else { "rs1" };
        scene
            .control_plane()
            .wait_for_event("shop", ("RealServer", about), reason)
            .with_context(|| format!("{reason} of {about}"))?;
    }
    // The verdict follows what is so, the other way round, too.
    rs1.run("sysctl -qw net.ipv4.icmp_echo_ignore_all=0")?;
    let back = |lines: &[String]| lines.iter().any(|line| line.contains("-r 192.168.56.30:9012 "));
    let took = crate::shop::table(&director, "rs1 is back by ping", back)?;
    scene.step(&format!("rs1 answers pings again: in after {took:.1?}"));
    Ok(())
}

/// Waits until of every service rs1 is out and rs2 is in.
fn judged(scene: &Scene, director: &Host) -> Result<()> {
    let has = |lines: &[String], server: &str, port: u16| {
        let destination = format!("-r {server}:{port} ");
        lines.iter().any(|line| line.contains(&destination))
    };
    let mut wrong = Vec::new();
    let found = clock::until("every verdict", LIMIT, || {
        let lines = oracle::ipvs(director)?;
        wrong = CASES
            .iter()
            .filter(|case| has(&lines, "192.168.56.30", case.port) || !has(&lines, "192.168.56.40", case.port))
            .map(|case| case.name)
            .collect();
        Ok(wrong.is_empty().then_some(()))
    });
    found.with_context(|| format!("not of {wrong:?}: {:#?}", said(scene, "rs1")))?;
    Ok(())
}

/// What the RealServer says of its health in each service.
pub(super) fn said(scene: &Scene, real_server: &str) -> Result<Vec<(String, String)>> {
    let object = scene
        .control_plane()
        .get(&["-n", "shop", &format!("realserver/{real_server}")])?;
    let services = object["status"]["virtualServices"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let message = |service: &Value| {
        // Conditions of a service are where those of an object are.
        let healthy = condition_of(&serde_json::json!({ "status": service }), "Healthy").cloned();
        let healthy = healthy.unwrap_or_default();
        let word = |field: &str| healthy[field].as_str().unwrap_or_default().to_owned();
        let name = service["name"].as_str().unwrap_or_default().to_owned();
        (name, format!("{}: {}", word("status"), word("message")))
    };
    Ok(services.iter().map(message).collect())
}

/// Each reason is the one of its failure, and of the other server nothing is said.
fn reasons(scene: &Scene) -> Result<()> {
    let is_so = |said: &[(String, String)], passes: bool| {
        let wrong = CASES.iter().filter(|case| {
            let found = said.iter().find(|(name, _)| name == case.name);
            !found.is_some_and(|(_, message)| match passes {
                true => message == "True: every health check passes",
                false => message.starts_with("False: dir1: ") && message.ends_with(case.words),
            })
        });
        wrong.map(|case| case.name).collect::<Vec<_>>()
    };
    for (server, passes) in [("rs1", false), ("rs2", true)] {
        let mut last = Vec::new();
        let found = clock::until("every reason", LIMIT, || {
            last = said(scene, server)?;
            Ok(is_so(&last, passes).is_empty().then_some(()))
        });
        found.with_context(|| format!("{server}: not of {:?}: {last:#?}", is_so(&last, passes)))?;
        if !passes {
            last.iter()
                .for_each(|(name, message)| scene.step(&format!("{name}: {message}")));
        }
    }
    Ok(())
}

/// These real servers, rs1 and so on, and a service with one check for each name and port.
pub(super) fn manifests<'a>(servers: &[&str], checks: impl Iterator<Item = (&'a str, u16, String)>) -> String {
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
         apiVersion: lvs-operator.io/v1alpha1\nkind: DirectorGroup\nmetadata: {name: default}\nspec:\n  \
         nodeSelector: {matchLabels: {lvs-operator.io/director: 'true'}}\n  interface: eth0\n  \
         allowedNamespaces: {from: All}\n  allowedCIDRs: [192.168.56.0/24]\n"
        .to_owned();
    for (number, spec) in (1..).zip(servers) {
        let _ = write!(
            text,
            "---\napiVersion: lvs-operator.io/v1alpha1\nkind: RealServer\n\
             metadata: {{name: rs{number}, namespace: shop, labels: {{app: web}}}}\nspec: {{{spec}}}\n"
        );
    }
    for (name, port, check) in checks {
        let _ = write!(
            text,
            "---\napiVersion: lvs-operator.io/v1alpha1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             addresses: [{{address: 192.168.56.100}}]\n  ports: [{{port: {port}}}]\n  scheduler: rr\n  \
             healthChecks: [{{{check}}}]\n  realServerSelector: {{matchLabels: {{app: web}}}}\n"
        );
    }
    text
}

/// An authority, and a certificate of it for `shop.example`.
pub(super) struct Authority {
    root: String,
    certificate: String,
    key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["shop.example".to_owned()])?.signed_by(&key, &root)?;
        Ok(Self {
            root: root.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// As a word of a manifest.
    pub(super) fn bundle(&self) -> String {
        format!("\"{}\"", self.root.replace("\r\n", "\n").replace('\n', "\\n"))
    }
}

/// An nginx that shows a certificate.
pub(super) fn with_certificate(host: &Host, authority: &Authority) -> Result<GuestProcess> {
    let folder = format!("/run/tls-{}", host.name);
    for (file, text) in [("key", &authority.key), ("certificate", &authority.certificate)] {
        host.guest()
            .write(&format!("{folder}/{file}.pem"), 0o600, text.as_bytes())?;
    }
    let http = format!(
        "server {{
                listen {TLS} ssl; ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
                location / {{ return 200 \"ok\\n\"; }}
            }}"
    );
    traffic::nginx_with(host, &folder, &http)
}
