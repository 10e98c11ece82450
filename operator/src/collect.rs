//! Watches in, [`Snapshot`](crate::Snapshot) out. IO; decides nothing.
//!
//! Every object is decoded by itself: one that does not decode is listed with its error, and its neighbours go on. A
//! restarted watch replaces its kind as a whole, once its list is complete. There is no snapshot before every watch had
//! its first complete list: an empty store must not be taken for an empty cluster.
//!
//! What this program wrote itself comes in through the watch and in no other way. To put a written Placement into the
//! store at once would show it beside older versions of the others, and the flag rules need one order of versions.

mod store;
#[cfg(test)]
mod tests;

pub use store::{Store, Wake};

use crate::metrics::Metrics;
use crds::{DirectorGroup, Placement, RealServer, VirtualService};
use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The API server ends a watch after this; a connection that died silently is noticed soon after.
const WATCH_SECONDS: u32 = 90;

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Source {
    VirtualServices,
    RealServers,
    DirectorGroups,
    Placements,
    Nodes,
    Namespaces,
    Leases,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::VirtualServices,
        Self::RealServers,
        Self::DirectorGroups,
        Self::Placements,
        Self::Nodes,
        Self::Namespaces,
        Self::Leases,
    ];

    fn api(self, client: Client, namespace: &str) -> (Api<DynamicObject>, ApiResource) {
        fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
            ApiResource::erase::<K>(&())
        }
        let resource = match self {
            Self::VirtualServices => resource::<VirtualService>(),
            Self::RealServers => resource::<RealServer>(),
            Self::DirectorGroups => resource::<DirectorGroup>(),
            Self::Placements => resource::<Placement>(),
            Self::Nodes => resource::<Node>(),
            Self::Namespaces => resource::<Namespace>(),
            Self::Leases => {
                let resource = resource::<Lease>();
                return (Api::namespaced_with(client, namespace, &resource), resource);
            }
        };
        (Api::all_with(client, &resource), resource)
    }
}

/// What one watch says.
#[derive(Debug)]
pub struct Update {
    /// Which watch.
    pub source: Source,
    /// What it says.
    pub event: watcher::Event<DynamicObject>,
}

/// Starts all watches; their updates come by one channel. It never ends, and yields no errors: each watch starts again by
/// itself.
pub fn watch(client: &Client, namespace: &str, metrics: &Metrics) -> UnboundedReceiver<Update> {
    let (sender, updates) = unbounded_channel();
    for source in Source::ALL {
        let (api, resource) = source.api(client.clone(), namespace);
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let watched = Watch {
            events: watcher::watcher(api, config).boxed(),
            source,
            plural: resource.plural,
            metrics: metrics.clone(),
            failures: 0,
        };
        let updates = futures::stream::unfold(watched, Watch::next);
        tokio::spawn(passed_on(updates.boxed(), sender.clone()));
    }
    updates
}

/// Reads ahead: a connection holds back all but a few objects until these are taken. Whoever took them between writes only
/// would decide on what was there before them, write the same again, and fall behind by as much each time.
async fn passed_on<T>(mut updates: BoxStream<'static, T>, to: UnboundedSender<T>) {
    while let Some(update) = updates.next().await {
        if to.send(update).is_err() {
            return;
        }
    }
}

struct Watch {
    events: BoxStream<'static, watcher::Result<watcher::Event<DynamicObject>>>,
    source: Source,
    plural: String,
    metrics: Metrics,
    failures: u32,
}

impl Watch {
    /// The next event; failures are waited for and not told.
    async fn next(mut self) -> Option<(Update, Self)> {
        loop {
            match self.events.next().await? {
                Ok(event) => {
                    // A list that begins is no success yet: it is what fails again while the API server is away.
                    if !matches!(event, watcher::Event::Init) {
                        self.failures = 0;
                    }
                    let event = event.modify(|object| object.metadata.managed_fields = None);
                    let source = self.source;
                    return Some((Update { source, event }, self));
                }
                Err(error) => {
                    let wait = backoff(self.failures);
                    tracing::warn!(kind = self.plural, %error, ?wait, "a watch failed; it starts again");
                    self.metrics.watch_failed(self.source);
                    self.failures = self.failures.saturating_add(1);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// 0.1 s, then twice as long each time, up to 5 s. kube's own goes up to 30 s, by which a short outage of the API server
/// would be followed by a longer one of ours; and it takes the beginning of a list for a success.
fn backoff(failures: u32) -> Duration {
    let wait = Duration::from_millis(100) * 2u32.saturating_pow(failures.min(6));
    wait.min(Duration::from_secs(5))
}
