//! What the operator was started with, as far as decisions depend on it.

use std::fmt;
use std::str::FromStr;

/// Decisions depend on these, and they never change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its own namespace, which holds the agents' Leases and the Placements of DirectorGroups.
    pub namespace: String,
    /// The firewall marks that services with `acrossPorts` get.
    pub firewall_marks: MarkRange,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "lvs-system".to_owned(),
            firewall_marks: MarkRange::default(),
        }
    }
}

/// A range of firewall marks, both ends included. Marks with one of kube-proxy's bits are never given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkRange {
    first: u32,
    last: u32,
}

/// kube-proxy ORs 0x4000 (masquerade) and 0x8000 (drop) into marks, and acts on them.
const OF_KUBE_PROXY: u32 = 0xc000;

impl Default for MarkRange {
    fn default() -> Self {
        Self {
            first: 0x1f00_0000,
            last: 0x1fff_ffff,
        }
    }
}

impl MarkRange {
    /// All marks that may be given, each once, from a place that depends on `seed`: operators that do not see each other's
    /// choices seldom choose the same.
    pub fn from_seed(self, seed: u32) -> impl Iterator<Item = u32> {
        let size = u64::from(self.last - self.first) + 1;
        let start = u32::try_from(u64::from(seed) % size).unwrap_or_default();
        let around = (self.first + start..=self.last).chain(self.first..self.first + start);
        around.filter(|mark| mark & OF_KUBE_PROXY == 0)
    }
}

impl fmt::Display for MarkRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.first, self.last)
    }
}

impl FromStr for MarkRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text
            .split_once('-')
            .ok_or("write START-END, such as 0x1f000000-0x1fffffff")?;
        let range = Self {
            first: mark(first)?,
            last: mark(last)?,
        };
        if range.first == 0 || range.first > range.last {
            return Err("a range goes from a mark of at least 1 to one that is not smaller".to_owned());
        }
        let probes = crds::PROBE_MARKS;
        if range.first <= *probes.end() && *probes.start() <= range.last {
            return Err(format!(
                "it meets {:#x}-{:#x}, which are the agents' own for probes",
                probes.start(),
                probes.end()
            ));
        }
        match range.from_seed(0).next() {
            Some(_) => Ok(range),
            None => Err("every mark in it has 0x4000 or 0x8000 set, which are kube-proxy's".to_owned()),
        }
    }
}

fn mark(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is no firewall mark: write 1 to 4294967295, or 0x1 to 0xffffffff"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written_alike() {
        for text in ["0x1f000000-0x1fffffff", "0x10-0x20", "0x7-0x7"] {
            assert_eq!(text.parse::<MarkRange>().unwrap().to_string(), text);
        }
        assert_eq!("16-32".parse::<MarkRange>(), "0x10-0x20".parse());
    }

    #[test]
    fn ranges_without_a_mark_to_give_are_refused() {
        for text in [
            "",
            "5",
            "0-9",
            "9-5",
            "0x4000-0x7fff",
            "1-0x100000000",
            "a-b",
            "0xfffffff-0x10000000",
            "0x17ffffff-0x18000000",
            "1-0xffffffff",
        ] {
            assert!(text.parse::<MarkRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_mark_is_offered_once_from_wherever_it_begins_and_none_of_kube_proxys() {
        let range: MarkRange = "0x3ffe-0x4001".parse().unwrap();
        for seed in [0, 1, 2, 3, 77] {
            let mut marks: Vec<u32> = range.from_seed(seed).collect();
            marks.sort_unstable();
            assert_eq!(marks, [0x3ffe, 0x3fff]);
        }
        assert_eq!(MarkRange::default().from_seed(5).next(), Some(0x1f00_0005));
    }
}
