//! The changes of sysctls and of the idle timeouts: what was there before us is remembered, and given back.

use ipvs::Timeouts;

use super::{Change, Plan, Stage, tunnels};
use crate::ledger::{Entry, Former, FormerTimeouts, Ledger};
use crate::observed::Observed;
use crate::state::{KernelState, Sysctl};

pub(super) fn sysctls(plan: &mut Plan, desired: &KernelState, observed: &Observed, ledger: &Ledger) {
    let lasting = desired
        .sysctls
        .iter()
        .filter(|(sysctl, _)| tunnels::device(sysctl).is_none());
    for (sysctl, requirement) in lasting {
        let Some(present) = observed.sysctl(sysctl) else {
            continue;
        };
        if observed.fulfils(sysctl, *requirement) {
            continue;
        }
        let value = requirement.value();
        let former = ledger.sysctls.get(sysctl).map_or(present, |record| record.former);
        plan.ledger.push(Entry::Sysctl {
            sysctl: sysctl.clone(),
            value: Former { former, set: value },
        });
        let change = Change::SetSysctl {
            sysctl: sysctl.clone(),
            value,
        };
        plan.steps.push((stage_of(sysctl), change));
    }
    // In reverse: what was set last is given back first.
    for (sysctl, Former { former, set }) in ledger.sysctls.iter().rev() {
        // A value that is not ours any more is somebody else's decision, and stays.
        if !desired.sysctls.contains_key(sysctl) && observed.sysctl(sysctl) == Some(*set) && former != set {
            let change = Change::RestoreSysctl {
                sysctl: sysctl.clone(),
                value: *former,
            };
            plan.steps.push((Stage::SysctlRestore, change));
        }
    }
}

/// What is asked for, and what was set before and is asked for no more: that becomes as it was, unless somebody else set
/// it since.
pub(super) fn timeouts(plan: &mut Plan, desired: &KernelState, observed: &Observed, ledger: &Ledger) {
    let Some(Ok(present)) = observed.timeouts else { return };
    let record = ledger.timeouts.unwrap_or(FormerTimeouts {
        former: present,
        set: Timeouts::default(),
    });
    let given_back = record.former.where_equal(record.set, present);
    let wanted = desired.timeouts.or(given_back);
    if wanted.hold_in(present) {
        return;
    }
    if desired.timeouts != Timeouts::default() {
        let set = desired.timeouts;
        plan.ledger.push(Entry::Timeouts {
            value: FormerTimeouts { set, ..record },
        });
    }
    plan.steps
        .push((Stage::DirectorSysctls, Change::SetTimeouts { timeouts: wanted }));
}

fn stage_of(sysctl: &Sysctl) -> Stage {
    match sysctl.is_of_host() {
        true => Stage::HostSysctls,
        false => Stage::DirectorSysctls,
    }
}
