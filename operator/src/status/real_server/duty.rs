//! What a real server does in each of its services: serves, leaves, or is the sorry server.

use super::super::seconds;
use super::living_directors;
use crate::snapshot::Key;
use crate::validate::{Member, some_of};
use crate::view::{DrainFact, View};

/// What it does in one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It serves, or would; or it is not in the service.
    Serves,
    /// It leaves: the directors' words, of which the slowest counts. None = no director was told of it.
    Leaves(Option<DrainFact>),
    /// It is the sorry server, and nobody needs it.
    StandsBy,
    /// It is the sorry server, and a director sends clients there.
    TakesOver,
}

impl Duty {
    pub(super) fn of(view: &View<'_>, service: &Key, member: Option<&Member>) -> Self {
        let Some(member) = member else {
            return Self::Serves;
        };
        let directors = living_directors(view, service);
        let mut directors = directors.iter();
        if member.leaving {
            let facts = directors.map(|director| view.drain_fact(director, &member.name, &member.addresses));
            return Self::Leaves(DrainFact::slowest(facts));
        }
        if !member.sorry {
            return Self::Serves;
        }
        if directors.any(|director| view.is_sent_to(director, &member.name, &member.addresses)) {
            Self::TakesOver
        } else {
            Self::StandsBy
        }
    }
}

/// How far a cordoned real server has left; service by service where they differ.
pub(super) fn cordoned<'a>(duties: impl Iterator<Item = (&'a str, Duty)>) -> String {
    let each: Vec<(&str, String)> = duties.map(|(name, duty)| (name, left(duty))).collect();
    let words = match each.as_slice() {
        [(_, first), others @ ..] if others.iter().all(|(_, other)| other == first) => first.clone(),
        _ => {
            let each = each
                .iter()
                .map(|(name, words)| format!("VirtualService {name}: {words}"));
            some_of(&each.collect::<Vec<_>>())
        }
    };
    format!("cordoned, {words}; set cordoned to false to have it back")
}

fn left(duty: Duty) -> String {
    match duty {
        Duty::Leaves(Some(DrainFact::Drained)) => "drained".to_owned(),
        Duty::Leaves(Some(DrainFact::Draining(Some(until)))) => format!("drains until {}", seconds(until)),
        Duty::Leaves(Some(DrainFact::Draining(None))) => "drains".to_owned(),
        Duty::Leaves(Some(DrainFact::Unknown)) => "its director is silent".to_owned(),
        Duty::Leaves(Some(DrainFact::Pending)) => "its director is being told".to_owned(),
        // It is refused there, or is not placed.
        Duty::Leaves(None) | Duty::Serves | Duty::StandsBy | Duty::TakesOver => "nothing is sent there".to_owned(),
    }
}

/// What one does that is ready.
pub(super) fn on_call<'a>(duties: impl Iterator<Item = (&'a str, Duty)>) -> String {
    let duties: Vec<(&str, Duty)> = duties.collect();
    let busy = duties.iter().filter(|(_, duty)| *duty == Duty::TakesOver);
    let busy: Vec<String> = busy.map(|(name, _)| (*name).to_owned()).collect();
    if !busy.is_empty() {
        return format!("it answers as the sorry server of VirtualService {}", some_of(&busy));
    }
    if duties.iter().all(|(_, duty)| *duty == Duty::StandsBy) {
        return "it stands by as the sorry server".to_owned();
    }
    "it may take traffic".to_owned()
}
