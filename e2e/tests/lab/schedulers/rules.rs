//! The rules that go by load, as ipvsadm(8) and the kernel's sources say them: which real servers may get the next one.

use std::collections::{BTreeMap, BTreeSet};

use e2e::oracle::Load;

/// By the real server's name.
pub(crate) type Loads = BTreeMap<&'static str, Load>;
/// From the counts, and from who got the connections before; several where the rule leaves it open.
pub(crate) type Rule = fn(&Loads, before: &[String]) -> BTreeSet<String>;

/// Scheduler, its rule, and how many connections tell it.
pub(crate) const BY_LOAD: &[(&str, Rule, u32)] = &[
    (
        "lc",
        |loads, _| least(loads, |load| (load.active * 256 + load.inactive, 1)),
        9,
    ),
    ("wlc", |loads, _| wlc(loads), 12),
    ("sed", |loads, _| sed(loads), 12),
    ("nq", |loads, _| nq(loads), 12),
    ("lblc", lblc, 8),
    ("lblcr", lblcr, 8),
    ("fo", |loads, _| highest(loads, |_| true), 5),
    ("ovf", |loads, _| highest(loads, |load| load.active <= load.weight), 9),
];

/// Those of the least cost, which is a fraction.
fn least(loads: &Loads, cost: impl Fn(&Load) -> (u64, u64)) -> BTreeSet<String> {
    let is_less = |one: &Load, other: &Load| {
        let ((a, b), (c, d)) = (cost(one), cost(other));
        a * d < c * b
    };
    let best = loads
        .iter()
        .filter(|(_, load)| !loads.values().any(|other| is_less(other, load)));
    best.map(|(name, _)| (*name).to_owned()).collect()
}

/// (active·256 + inactive) / weight.
fn wlc(loads: &Loads) -> BTreeSet<String> {
    least(loads, |load| (load.active * 256 + load.inactive, load.weight))
}

/// (active + 1)·256 / weight.
fn sed(loads: &Loads) -> BTreeSet<String> {
    least(loads, |load| ((load.active + 1) * 256, load.weight))
}

/// An idle one first; else as sed.
fn nq(loads: &Loads) -> BTreeSet<String> {
    let idle: BTreeSet<_> = loads
        .iter()
        .filter(|(_, load)| load.active == 0)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if idle.is_empty() { sed(loads) } else { idle }
}

/// More connections than its weight, while another has less than half of its own.
fn is_overloaded(load: &Load, loads: &Loads) -> bool {
    load.active > load.weight && loads.values().any(|other| other.active * 2 < other.weight)
}

/// The VIP's own real server, until it is overloaded; then that of wlc.
fn lblc(loads: &Loads, before: &[String]) -> BTreeSet<String> {
    match before.last() {
        Some(own) if !is_overloaded(&loads[own.as_str()], loads) => [own.clone()].into(),
        Some(_) | None => wlc(loads),
    }
}

/// The least loaded of the VIP's set, until that one is overloaded; then that of wlc, which joins the set.
fn lblcr(loads: &Loads, before: &[String]) -> BTreeSet<String> {
    let set: Loads = loads
        .iter()
        .filter(|(name, _)| before.iter().any(|one| one == *name))
        .map(|(n, l)| (*n, *l))
        .collect();
    let best = wlc(&set);
    match best.iter().next() {
        Some(one) if !is_overloaded(&loads[one.as_str()], loads) => best,
        Some(_) | None => wlc(loads),
    }
}

/// The highest weight of those that may be used.
fn highest(loads: &Loads, may: impl Fn(&Load) -> bool) -> BTreeSet<String> {
    let able = loads.iter().filter(|(_, load)| may(load));
    let best = able.max_by_key(|(_, load)| load.weight);
    best.map(|(name, _)| (*name).to_owned()).into_iter().collect()
}
