//! This node's Placements: watched by `spec.nodeName`, and remembered on disk for a start without an API server.

mod disk;

pub use disk::Disk;

use std::collections::BTreeMap;
use std::time::Duration;

use crds::{Placement, PlacementSpec, PlacementStatus, Subject, SubjectKind};
use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::view::{NotUnderstood, Placed, PlacementKey, Source, View};

/// Seconds after which the API server ends a watch: a connection that died silently is noticed by then.
const WATCH_SECONDS: u32 = 90;

/// What the API server said.
#[derive(Clone, Debug)]
pub enum News {
    /// Everything there is, in place of all that was said before.
    List(Known),
    /// One Placement as it is now, and the status stored with it.
    Placed {
        /// Which.
        key: PlacementKey,
        /// What it says.
        stored: Box<Stored>,
    },
    /// One that is gone.
    Gone {
        /// Which.
        key: PlacementKey,
    },
}

/// A Placement at the API server.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it asks for.
    pub placed: Placed,
    /// What was said of it.
    pub status: PlacementStatus,
}

/// A complete list.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The Placements.
    pub view: View,
    /// The statuses stored with them.
    pub stored: BTreeMap<PlacementKey, PlacementStatus>,
}

/// The Placements of `node`, as they change. `remembered` gives last good specs to objects that are not
/// understood.
pub fn watch(client: Client, node: &str, remembered: View) -> impl Stream<Item = News> + use<> {
    // Raw objects: a field that this agent does not know must be seen, not dropped by the decoder.
    let kind = ApiResource::erase::<Placement>(&());
    let api: Api<DynamicObject> = Api::all_with(client, &kind);
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_SECONDS);
    let start = Watched {
        view: remembered,
        next: None,
    };
    let events = watcher(api, config).backoff(EverySecond);
    Box::pin(events)
        .scan(start, |watched, event| {
            let news = match event {
                Ok(event) => watched.take(event),
                Err(error) => {
                    tracing::warn!(%error, "the watch of Placements failed; it is opened again");
                    None
                }
            };
            std::future::ready(Some(news))
        })
        .filter_map(std::future::ready)
}

/// How long a failed watch waits. kube's own backoff grows to 30 s, by which a short outage of the API server would be
/// followed by a longer one of ours; a request a second and agent is bearable for any API server.
struct EverySecond;

impl Iterator for EverySecond {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

impl Backoff for EverySecond {
    fn reset(&mut self) {}
}

/// The state of the watch: what is known, and the list that is being received.
struct Watched {
    view: View,
    next: Option<Known>,
}

impl Watched {
    /// What is new in it, when anything is.
    fn take(&mut self, event: Event<DynamicObject>) -> Option<News> {
        match event {
            Event::Init => {
                self.next = Some(Known::default());
                None
            }
            Event::InitApply(object) => {
                let (key, Stored { placed, status }) = self.understood(&object);
                let next = self.next.get_or_insert_default();
                next.stored.insert(key.clone(), status);
                next.view.placements.insert(key, placed);
                None
            }
            Event::InitDone => {
                let mut known = self.next.take().unwrap_or_default();
                known.view.source = Source::Api;
                self.view = known.view.clone();
                Some(News::List(known))
            }
            Event::Apply(object) => {
                let (key, stored) = self.understood(&object);
                self.view.placements.insert(key.clone(), stored.placed.clone());
                let stored = Box::new(stored);
                Some(News::Placed { key, stored })
            }
            Event::Delete(object) => {
                let key = key(&object);
                self.view.placements.remove(&key);
                Some(News::Gone { key })
            }
        }
    }

    fn understood(&self, object: &DynamicObject) -> (PlacementKey, Stored) {
        let key = key(object);
        let status = object.data.get("status").cloned();
        let status = status.and_then(|value| serde_json::from_value(value).ok());
        let placed = placed(self.view.placements.get(&key), object);
        let status = status.unwrap_or_default();
        (key, Stored { placed, status })
    }
}

fn key(object: &DynamicObject) -> PlacementKey {
    PlacementKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// The Placement as it is taken: not an older generation than before (an API server may lag behind another), and not a
/// spec with anything in it that this agent does not know; then the last good one stays.
fn placed(former: Option<&Placed>, object: &DynamicObject) -> Placed {
    let uid = object.uid().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let former = former.filter(|former| former.uid == uid);
    if let Some(newer) = former.filter(|former| former.generation > generation) {
        return newer.clone();
    }
    match understand(object.data.get("spec").cloned().unwrap_or_default()) {
        Ok(spec) => Placed {
            uid,
            generation,
            spec,
            not_understood: None,
            down: Default::default(),
            untested: Default::default(),
            serving: Default::default(),
        },
        Err(words) => {
            let not_understood = Some(NotUnderstood { generation, words });
            let (generation, spec) = former.map_or_else(|| (0, nothing()), |good| (good.generation, good.spec.clone()));
            Placed {
                uid,
                generation,
                spec,
                not_understood,
                down: Default::default(),
                untested: Default::default(),
                serving: Default::default(),
            }
        }
    }
}

fn nothing() -> PlacementSpec {
    let subject = Subject {
        kind: SubjectKind::VirtualService,
        name: String::new(),
    };
    PlacementSpec {
        subject,
        node_name: String::new(),
        director: None,
        real_server: None,
        virtual_router: None,
    }
}

/// The spec, if every field and every value of it is known here.
fn understand(spec: Value) -> Result<PlacementSpec, String> {
    let mut unknown = Vec::new();
    let spec = serde_ignored::deserialize(spec, |path| unknown.push(path.to_string())).map_err(|e| e.to_string())?;
    match unknown.first() {
        None => Ok(spec),
        // The path marks each optional value that it passes with a question mark.
        Some(field) => Err(format!("unknown field spec.{}", field.replace(".?", ""))),
    }
}

#[cfg(test)]
mod tests;
