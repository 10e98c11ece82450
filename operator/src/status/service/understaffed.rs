//! What is said while real servers are too few, or go: sorry server, quorum, drains.

use super::Looked;
use crate::validate::some_of;
use crate::view::DrainFact;
use crds::conditions::{Verdict, reason};
use crds::{DirectorPart, DirectorReport, Quorum};
use std::collections::BTreeSet;

impl Looked<'_> {
    /// Condition Ready, while a director sends clients to the sorry server; `weight` is that of the real servers that serve.
    pub(super) fn sorry_answers(&self, weight: i64) -> Option<Verdict> {
        let mut sorry = self.service.members.values().filter(|member| member.sorry);
        let answers = sorry.find(|member| {
            let mut directors = self.directors.iter();
            directors.any(|director| self.view.is_sent_to(director, &member.name, &member.addresses))
        })?;
        let message = format!(
            "{} answers in place of the real servers: {}{}",
            answers.name,
            self.of_quorum(weight),
            self.on_leave()
        );
        Some(Verdict::no(reason::SORRY_SERVER, message))
    }

    /// Condition Ready, while a director says that too few serve, and nobody takes over.
    pub(super) fn below_quorum(&self, weight: i64) -> Option<Verdict> {
        let lost = |report: &DirectorReport| report.below_quorum;
        let mut reports = self.directors.iter().filter(|director| self.view.counts(director));
        if !reports.any(|director| director.status.director.as_ref().is_some_and(lost)) {
            return None;
        }
        let message = format!(
            "{}{}{}: see the RealServers",
            self.of_quorum(weight),
            self.on_leave(),
            self.left_out()
        );
        Some(Verdict::no(reason::BELOW_QUORUM, message))
    }

    /// How much weight is healthy, and how much it takes to have the quorum again.
    fn of_quorum(&self, weight: i64) -> String {
        let parts = self
            .directors
            .iter()
            .filter_map(|director| director.spec.director.as_ref());
        let quorum: Quorum = parts
            .filter_map(|part: &DirectorPart| part.quorum)
            .next()
            .unwrap_or_default();
        let Quorum {
            minimum_weight,
            hysteresis,
        } = quorum;
        let minimum = i64::from(minimum_weight.unwrap_or(1));
        let hysteresis = i64::from(hysteresis.unwrap_or(0));
        let needed = minimum.saturating_add(hysteresis);
        match hysteresis {
            0 => format!("weight {weight} is healthy, and the quorum is {needed}"),
            _ => format!(
                "weight {weight} is healthy, and the quorum is back with {needed} ({minimum}, and hysteresis {hysteresis})"
            ),
        }
    }

    /// Who is cordoned, and who keeps connections while it leaves.
    pub(super) fn on_leave(&self) -> String {
        let cordoned = self.ordinary().filter(|member| member.leaving);
        let cordoned: Vec<String> = cordoned.map(|member| member.name.clone()).collect();
        let mut draining = BTreeSet::new();
        for director in &self.directors {
            let listed = director.spec.director.iter().flat_map(|part| &part.real_servers);
            for entry in listed.filter(|entry| entry.leaving) {
                match self.view.drain_fact(director, &entry.name, &entry.addresses) {
                    DrainFact::Draining(_) => {
                        draining.insert(entry.name.clone());
                    }
                    DrainFact::Drained | DrainFact::Pending | DrainFact::Unknown => {}
                }
            }
        }
        let draining: Vec<String> = draining.into_iter().collect();
        let mut words = String::new();
        for (what, names) in [("cordoned", cordoned), ("draining", draining)] {
            if !names.is_empty() {
                words += &format!("; {what}: {}", some_of(&names));
            }
        }
        words
    }
}
