//! The two halves of a changed ruleset. What is added comes before IPVS is told to use it, what goes after IPVS has left it;
//! between the two, nftables holds what either side asks for.

use super::{Change, Plan, Stage};
use crate::desired::retired;
use crate::observed::Observed;
use crate::ruleset::{Ruleset, difference};
use crate::state::KernelState;

pub(super) fn ruleset(plan: &mut Plan, desired: &KernelState, observed: &Observed) {
    let Some(table) = observed.nftables.table() else { return };
    if desired.ruleset.table().as_ref() == table {
        return;
    }
    let had = Ruleset::of(table);
    let wanted = wanted(desired, &had, observed);
    let between = wanted.and(&had).table();
    let grow = difference(table, between.as_ref());
    let shrink = difference(between.as_ref(), wanted.table().as_ref());
    if !grow.is_empty() {
        plan.steps.push((Stage::RulesetUp, Change::GrowRuleset(grow)));
    }
    if !shrink.is_empty() {
        plan.steps.push((Stage::RulesetDown, Change::ShrinkRuleset(shrink)));
    }
}

/// What is desired, and what connections of former FullNAT still need.
fn wanted(desired: &KernelState, had: &Ruleset, observed: &Observed) -> Ruleset {
    let mut wanted = desired.ruleset.clone();
    let connected = observed.connected();
    wanted
        .full_nat
        .extend(retired(&desired.ruleset, had, &desired.ipvs, connected));
    wanted
}

/// Whether connections of former FullNAT are waited for.
pub fn has_retired(desired: &KernelState, observed: &Observed) -> bool {
    let had = Ruleset::of(observed.nftables.table().flatten());
    !retired(&desired.ruleset, &had, &desired.ipvs, None).is_empty()
}
