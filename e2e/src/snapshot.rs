//! The whole network state of a host as comparable text, read by other people's tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::program::Program;
use crate::topology::Host;

/// Section, and the command that fills it. Few programs: under emulation a process costs more than what it reads.
const SECTIONS: &[(&str, &str)] = &[
    ("ipvs", "ipvsadm -Sn"),
    ("link", "ip -j -d address"),
    (
        "ipv4",
        "ip -j -4 -batch - <<END\nroute show table all\nrule\nneigh show proxy\nEND\n",
    ),
    (
        "ipv6",
        "ip -j -6 -batch - <<END\nroute show table all\nrule\nneigh show proxy\nEND\n",
    ),
    ("nft", "nft -j list ruleset"),
    (
        "sysctl",
        // Some cannot be read, for which it ends with a failure.
        "cd /proc/sys/net; grep -r '' ipv4/ip_forward ipv4/conf ipv4/vs ipv6/conf 2>/dev/null; :",
    ),
];
const MARK: &str = "=====";
/// Numbers that the kernel gives, times that pass, counters that run.
const VOLATILE: &[&str] = &[
    "ifindex",
    "link_index",
    "link_netnsid",
    // The kernel draws it for its own tunnel devices.
    "permaddr",
    "valid_life_time",
    "preferred_life_time",
    "handle",
    "expires",
    "packets",
    "bytes",
    "metainfo",
    "age",
    "hello_timer",
    "tcn_timer",
    "gc_timer",
    "topology_change_timer",
];

/// The state of a host: lines by section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, BTreeSet<String>>);

impl Snapshot {
    /// Reads it all, by one shell: under emulation a process costs more than what it reads.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn of(host: &Host) -> Result<Self> {
        let commands = SECTIONS
            .iter()
            .map(|(name, command)| format!("echo '{MARK} {name}'\n{command}\n[ $? = 0 ] || exit 1\n"));
        let output = host.program(Program::shell(&commands.collect::<String>()))?;
        let snapshot = Self::parse(&output.stdout).with_context(|| format!("the snapshot of {}", host.name))?;
        for section in ["link", "ipv4", "sysctl"] {
            let is_read = snapshot.0.get(section).is_some_and(|lines| !lines.is_empty());
            ensure!(is_read, "nothing was read of {section} of {}", host.name);
        }
        Ok(snapshot)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix(MARK) {
                current = name.trim().to_owned();
                sections.entry(current.clone()).or_default();
                continue;
            }
            let lines = sections.entry(current.clone()).or_default();
            if line.starts_with(['[', '{']) {
                let value: Value = serde_json::from_str(line).context("not JSON")?;
                flatten(&value, lines);
            } else {
                lines.insert(line.trim().to_owned());
            }
        }
        Ok(Self(sections))
    }

    /// What differs, a line each: `-` only here, `+` only in `later`. Empty when equal.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Diff {
        let empty = BTreeSet::new();
        let mut lines = Vec::new();
        for name in self.0.keys().chain(later.0.keys()).collect::<BTreeSet<_>>() {
            let old = self.0.get(name).unwrap_or(&empty);
            let new = later.0.get(name).unwrap_or(&empty);
            lines.extend(old.difference(new).map(|line| format!("- {name}: {line}")));
            lines.extend(new.difference(old).map(|line| format!("+ {name}: {line}")));
        }
        Diff(lines)
    }
}

/// One line for each object; addresses apart from their link.
fn flatten(value: &Value, lines: &mut BTreeSet<String>) {
    let entries = match (value.as_array(), value["nftables"].as_array()) {
        (Some(entries), _) | (None, Some(entries)) => entries,
        (None, None) => return,
    };
    for entry in entries {
        let mut entry = steady(entry);
        if let Some(addresses) = entry.get_mut("addr_info").map(Value::take) {
            let link = entry["ifname"].clone();
            for address in addresses.as_array().into_iter().flatten() {
                lines.insert(format!("{link} {address}"));
            }
        }
        if entry.as_object().is_none_or(|fields| !fields.is_empty()) {
            lines.insert(entry.to_string());
        }
    }
}

fn steady(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), steady(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(steady).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// What differs between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff(pub Vec<String>);

impl Diff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a result: the differences are the error.
    ///
    /// # Errors
    /// When there are any.
    pub fn expect_empty(&self, whose: &str) -> Result<()> {
        match self.is_empty() {
            true => Ok(()),
            false => anyhow::bail!("{whose} differs from what it was:\n{self}"),
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"===== ipvs
===== link
[{"ifindex":2,"ifname":"eth0","addr_info":[{"local":"192.0.2.1","valid_life_time":4294967295}]}]
===== nft
{"nftables":[{"metainfo":{"version":"1"}},{"rule":{"handle":3,"expr":[{"counter":{"packets":1,"bytes":2}}]}}]}
===== sysctl
ipv4/ip_forward:0
"#;

    #[test]
    fn numbers_that_run_do_not_count() {
        let one = Snapshot::parse(ONE).expect("first");
        let other = ONE
            .replace("\"handle\":3", "\"handle\":4")
            .replace("\":1,\"", "\":9,\"");
        let other = Snapshot::parse(&other.replace("4294967295", "30")).expect("second");
        assert!(one.diff(&other).is_empty(), "{}", one.diff(&other));
    }

    #[test]
    fn an_address_and_a_sysctl_count() {
        let one = Snapshot::parse(ONE).expect("first");
        let other = ONE.replace("192.0.2.1", "192.0.2.2").replace("forward:0", "forward:1");
        let diff = one.diff(&Snapshot::parse(&other).expect("second"));
        assert_eq!(diff.0.len(), 4, "{diff}");
        assert_eq!(diff.0[0], r#"- link: "eth0" {"local":"192.0.2.1"}"#);
    }
}
