//! The narrow pass: over services alone, where nothing else can have changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::reading::Stale;
use super::{Node, Outcome, Reach};
use crate::desired::{Desired, ServiceChange, hosted, service_change};
use crate::kernel::{Kernel, KernelError};
use crate::ledger::Journal;
use crate::plan::{plan_services, settled_services};
use crate::report::{Evidence, report};

/// What a pass came to that left nothing to do: it holds as long as nothing but Placements changes.
#[derive(Debug)]
pub(super) struct Ground {
    desired: Desired,
    /// The VIPs that this node accepts for its real servers.
    hosted: BTreeSet<IpAddr>,
}

impl<K: Kernel, J: Journal> Node<K, J> {
    /// What the next passes may stand on, after one that left nothing to do.
    pub(super) fn found(&self, desired: Desired) -> Option<Ground> {
        let is_settled = self.view.is_complete() && self.ledger.adopted && self.ledger.claimed;
        (is_settled && self.stale == Stale::default()).then(|| Ground {
            hosted: hosted(&self.view),
            desired,
        })
    }

    /// The services that a narrow pass is about, when one will do. None of them where it was only looked how far a drain is:
    /// a second of draining costs what drains.
    pub(super) fn narrows(&mut self) -> Option<(Ground, ServiceChange)> {
        let ground = self.ground.take().filter(|_| self.stale == Stale::default())?;
        let mut wanted = ServiceChange::new();
        for (key, former) in &self.changed {
            let (former, now) = (former.as_ref()?, self.view.placements.get(key)?);
            let facts = &self.observed.facts;
            for (key, service) in service_change(former, now, &ground.desired, &ground.hosted, facts)? {
                // Two Placements want it: which one has it is decided among all.
                if wanted.insert(key, service).is_some() {
                    return None;
                }
            }
        }
        Some((ground, wanted))
    }

    /// As a whole pass, of these services. What it cannot bring to its end is a whole one's to judge.
    pub(super) fn narrow_pass(
        &mut self,
        mut ground: Ground,
        wanted: &ServiceChange,
        now: Timestamp,
    ) -> Result<Outcome, KernelError> {
        ground.desired.change(wanted);
        let plan = plan_services(wanted, &self.observed, &self.ledger);
        self.record(&plan.ledger)?;
        let executed = self.execute(plan.steps, &ground.desired.state);
        self.read_back(&executed)?;
        let residue = plan_services(wanted, &self.observed, &self.ledger);
        let (done, refusals) = executed;
        if !residue.is_empty() || !refusals.is_empty() {
            return self.conclude((done, refusals), now);
        }
        self.record(&settled_services(wanted, &self.observed, &self.ledger))?;
        let evidence = Evidence {
            desired: &ground.desired,
            observed: &self.observed,
            residue: &residue,
            refusals: &refusals,
            boot_id: &self.boot_id,
        };
        let changed = self.changed.keys();
        let changed = changed.filter_map(|key| Some((key, self.view.placements.get(key)?)));
        let statuses = report(evidence, changed, &self.statuses, now);
        self.statuses.extend(statuses.clone());
        self.changed.clear();
        self.ground = Some(ground);
        Ok(Outcome {
            statuses,
            reach: Reach::Changes,
            done,
            refusals,
            unfinished: false,
        })
    }
}
