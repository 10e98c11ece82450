//! Purity is a dependency list, not a promise: what must not be able to talk to anything has nothing to do it with.

use anyhow::{Context, Result, bail};

use crate::report::Counts;
use crate::run::cargo;

/// A member, and the crates that must not be among its dependencies.
const RULES: &[(&str, &[&str])] = &[
    // The contract of operator and agent: types and rules.
    (
        "crds",
        &["kube-client", "kube-runtime", "hyper", "tokio", "netlink-sys"],
    ),
    // Values and bytes: no socket, no runtime, no system calls.
    (
        "ipvs",
        &[
            "kube",
            "tokio",
            "mio",
            "netlink-sys",
            "netlink-proto",
            "socket2",
            "nix",
            "rustix",
        ],
    ),
    // State machines: evidence and time in, verdicts out.
    (
        "health",
        &["crds", "kube", "tokio", "mio", "socket2", "nix", "rustix", "jiff"],
    ),
    // Bans of `.deny.toml` that need no download to be checked.
    ("operator", &["openssl-sys", "aws-lc-sys", "chrono"]),
    ("node-agent", &["openssl-sys", "aws-lc-sys", "chrono"]),
    // xtask must be quick to build.
    ("e2e", &["kube", "operator", "node-agent", "tokio"]),
];

/// Checks every member's list.
pub(crate) fn check() -> Result<Counts> {
    let mut counts = Counts::default();
    for (member, banned) in RULES {
        let dependencies = dependencies(member)?;
        let found: Vec<_> = banned
            .iter()
            .filter(|name| dependencies.iter().any(|d| d == *name))
            .collect();
        if found.is_empty() {
            counts.passed += 1;
        } else {
            eprintln!("{member} depends on {found:?}");
            counts.failed += 1;
        }
    }
    Ok(counts)
}

fn dependencies(member: &str) -> Result<Vec<String>> {
    let tree = [
        "tree",
        "--package",
        member,
        "--edges=normal",
        "--prefix=none",
        "--format={p}",
    ];
    let output = cargo(&tree).output().context("cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let names: Vec<String> = names
        .lines()
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect();
    // A list that is empty would forbid nothing.
    if names.len() < 2 {
        bail!("cargo tree names no dependency of {member}");
    }
    Ok(names)
}
