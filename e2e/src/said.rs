//! What the product says of an object: conditions and Events.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::cluster::condition_of;
use crate::control_plane::ControlPlane;

/// What is waited for at most. The guest may be emulated, and busy.
const LIMIT: Duration = Duration::from_secs(60);

impl ControlPlane {
    /// Waits until a condition is as given — `("Accepted", "False", "Invalid")` — about the object's present generation,
    /// with a message that holds `words`; returns the object, and how long it took.
    ///
    /// # Errors
    /// When it does not come: with the last object.
    pub fn wait_until_said(
        &self,
        namespace: &str,
        object: &str,
        condition: (&str, &str, &str),
        words: &str,
    ) -> Result<(Value, Duration)> {
        let (type_, status, reason) = condition;
        let what = format!("{object} has {type_}={status}, {reason}: …{words}…");
        self.wait_for(&what, LIMIT, &["-n", namespace, object], |object| {
            is_said(object, condition, words)
        })
    }

    /// Waits until an Event of this reason tells of an object — `("VirtualService", "web")`.
    ///
    /// # Errors
    /// When there is none: with those that are there.
    pub fn wait_for_event(&self, namespace: &str, about: (&str, &str), reason: &str) -> Result<Duration> {
        let what = format!("an Event {reason} about {} {}", about.0, about.1);
        let (_, took) = self.wait_for(&what, LIMIT, &["-n", namespace, "events.events.k8s.io"], |list| {
            list["items"]
                .as_array()
                .is_some_and(|events| events.iter().any(|event| tells(event, about, reason)))
        })?;
        Ok(took)
    }
}

/// Whether a condition is as given, and about the present generation.
#[must_use]
pub fn is_said(object: &Value, (type_, status, reason): (&str, &str, &str), words: &str) -> bool {
    condition_of(object, type_).is_some_and(|found| {
        found["status"] == status
            && found["reason"] == reason
            && found["message"].as_str().is_some_and(|message| message.contains(words))
            && found["observedGeneration"] == object["metadata"]["generation"]
    })
}

/// Whether an Event tells of this object — kind and name — with this reason.
#[must_use]
pub fn tells(event: &Value, (kind, name): (&str, &str), reason: &str) -> bool {
    event["reason"] == reason && event["regarding"]["kind"] == kind && event["regarding"]["name"] == name
}
