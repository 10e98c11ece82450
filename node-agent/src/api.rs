//! Everything that the agent writes to the API: its Placements' status, its Lease, Events. Nothing here is waited for by
//! the data plane; with the API server gone, the latest state waits and older ones are forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::{Placement, PlacementStatus, names};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::metrics::Metrics;
use crate::view::PlacementKey;

mod book;

use self::book::Book;

/// No call to the API server takes longer.
const CALL: Duration = Duration::from_secs(5);
/// Least time between two writes of one Placement's status; the first change is written at once.
const PLACEMENT_PACE: Duration = Duration::from_secs(1);
/// Least time between two writes of this agent.
const AGENT_PACE: Duration = Duration::from_millis(50);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(1);
/// An agent whose token is refused for so long is not this node's agent any more.
const REFUSED: Duration = Duration::from_secs(300);
/// What an Event's note may hold.
const NOTE: usize = 1000;

/// What the loop has to say.
#[derive(Clone, Debug)]
pub enum Say {
    /// The statuses that the API server has, after a complete list.
    Stored(BTreeMap<PlacementKey, PlacementStatus>),
    /// The status that the API server has of one Placement; `None` = it is gone there.
    StoredOne {
        /// Which.
        key: PlacementKey,
        /// Its status.
        status: Option<PlacementStatus>,
    },
    /// All statuses after a pass.
    Statuses(BTreeMap<PlacementKey, PlacementStatus>),
    /// Some of them: the others are as they were.
    SomeStatuses(BTreeMap<PlacementKey, PlacementStatus>),
    /// Something happened to this Placement.
    Event {
        /// Which.
        about: PlacementKey,
        /// What.
        event: Happening,
    },
}

/// Something to tell people.
#[derive(Clone, Debug)]
pub struct Happening {
    /// Normal or Warning.
    pub type_: EventType,
    /// Its reason, CamelCase.
    pub reason: &'static str,
    /// What was done, CamelCase. Events that differ in nothing but their note are counted as one, with the first note.
    pub action: &'static str,
    /// What happened, in words.
    pub note: String,
}

/// Writes what it is told until the loop ends.
pub async fn write(client: Client, node: String, metrics: Metrics, mut inbox: UnboundedReceiver<Say>) {
    let reporter = Reporter {
        controller: names::AGENT.to_owned(),
        instance: Some(node),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut book = Book::default();
    loop {
        let due = book.due(now());
        tokio::select! {
            said = inbox.recv() => match said {
                None => return,
                Some(Say::Stored(stored)) => book.stored(stored),
                Some(Say::StoredOne { key, status }) => book.stored_one(key, status),
                Some(Say::Statuses(statuses)) => book.say(statuses),
                Some(Say::SomeStatuses(statuses)) => book.say_some(statuses),
                Some(Say::Event { about, event }) => publish(&recorder, &about, event).await,
            },
            () = sleep_until(due.as_ref().map_or_else(far, |(at, _)| *at)), if due.is_some() => {
                if let Some((_, key)) = due {
                    write_status(&client, &mut book, key, &metrics).await;
                }
            }
        }
    }
}

async fn write_status(client: &Client, book: &mut Book, key: PlacementKey, metrics: &Metrics) {
    let Some(status) = book.latest(&key).cloned() else {
        return;
    };
    let api: Api<Placement> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({
        "apiVersion": Placement::api_version(&()), "kind": Placement::kind(&()),
        "metadata": {"name": key.name}, "status": status,
    });
    let params = PatchParams::apply(names::AGENT).force();
    let wait = match timeout(CALL, api.patch_status(&key.name, &params, &Patch::Apply(patch))).await {
        Ok(Ok(_)) => {
            book.stored_one(key.clone(), Some(status));
            metrics.status_write("ok");
            PLACEMENT_PACE
        }
        Ok(Err(kube::Error::Api(refusal))) if refusal.code == 404 => {
            book.stored_one(key.clone(), None);
            PLACEMENT_PACE
        }
        Ok(Err(error)) => {
            tracing::warn!(placement = %key, %error, "the status could not be written; it is tried again");
            metrics.status_write("error");
            RETRY
        }
        Err(_) => {
            metrics.status_write("timeout");
            RETRY
        }
    };
    book.wait(key, now() + wait, now() + AGENT_PACE);
}

async fn publish(recorder: &Recorder, about: &PlacementKey, event: Happening) {
    let Happening {
        type_,
        reason,
        action,
        note,
    } = event;
    let regarding = ObjectReference {
        api_version: Some(Placement::api_version(&()).into_owned()),
        kind: Some(Placement::kind(&()).into_owned()),
        name: Some(about.name.clone()),
        namespace: Some(about.namespace.clone()),
        ..ObjectReference::default()
    };
    let note = Some(note.chars().take(NOTE).collect());
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note,
        action: action.to_owned(),
        secondary: None,
    };
    match timeout(CALL, recorder.publish(&event, &regarding)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an Event could not be written"),
        Err(_) => tracing::warn!("an Event could not be written in time"),
    }
}

/// Renews the Lease for ever: the sign of life, and the word which boot this is. Returns when the token was refused for
/// five minutes.
pub async fn renew_lease(client: Client, namespace: String, node: String, boot_id: String) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let name = names::agent_lease(&node);
    let mut refused_since: Option<Instant> = None;
    loop {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(sign_of_life(&boot_id)),
        };
        let params = PatchParams::apply(names::AGENT).force();
        let wait = match timeout(CALL, api.patch(&name, &params, &Patch::Apply(&lease))).await {
            Ok(Ok(_)) => {
                refused_since = None;
                Duration::from_secs(names::LEASE_RENEW_SECONDS)
            }
            Ok(Err(kube::Error::Api(refusal))) if refusal.code == 401 => {
                let since = *refused_since.get_or_insert_with(now);
                if since.elapsed() >= REFUSED {
                    return;
                }
                RETRY * 5
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be renewed");
                RETRY
            }
            Err(_) => RETRY,
        };
        sleep(wait).await;
    }
}

fn sign_of_life(boot_id: &str) -> LeaseSpec {
    #[expect(clippy::disallowed_methods, reason = "the Lease says when it was renewed")]
    let renewed = Timestamp::now();
    LeaseSpec {
        holder_identity: Some(boot_id.to_owned()),
        lease_duration_seconds: Some(names::LEASE_SECONDS),
        renew_time: Some(MicroTime(renewed)),
        ..LeaseSpec::default()
    }
}

fn now() -> Instant {
    Instant::now()
}

fn far() -> Instant {
    now() + Duration::from_secs(3600)
}
