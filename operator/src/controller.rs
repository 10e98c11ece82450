//! The loop: wait for news or a deadline, look at everything, write what differs.

use crate::admin::Readiness;
use crate::apply::{Outcome, Writer};
use crate::collect::{self, Store, Update, Wake};
use crate::metrics::Metrics;
use crate::reconcile;
use crate::settings::Settings;
use jiff::Timestamp;
use kube::Client;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// News seldom comes alone: what arrives within this is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Waits after passes that failed, the last one again and again.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];

/// What the loop holds between passes: the view, and when to look without news. No decision is kept.
pub struct Controller {
    updates: UnboundedReceiver<Update>,
    store: Store,
    writer: Writer,
    metrics: Metrics,
    readiness: Readiness,
    failures: usize,
    next_look: Option<Timestamp>,
}

impl Controller {
    /// Starts the watches.
    pub fn new(
        client: &Client,
        settings: Settings,
        api_servers: Vec<IpAddr>,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Self {
        Self {
            updates: collect::watch(client, &settings.namespace, &metrics),
            store: Store::new(settings, api_servers),
            writer: Writer::new(client.clone(), metrics.clone()),
            metrics,
            readiness,
            failures: 0,
            next_look: None,
        }
    }

    /// Runs for ever. It may be dropped at any moment: nothing is remembered that the API does not hold.
    pub async fn run(mut self) {
        loop {
            self.wait().await;
            self.look().await;
        }
    }

    /// Until there is news, or it is time.
    async fn wait(&mut self) {
        loop {
            let patience = self.patience();
            let wake = tokio::select! {
                Some(update) = self.updates.recv() => self.store.absorb(update),
                () = tokio::time::sleep(patience) => Wake::Yes,
            };
            if wake == Wake::Yes {
                break;
            }
        }
        tokio::time::sleep(DEBOUNCE).await;
        while let Ok(update) = self.updates.try_recv() {
            let _ = self.store.absorb(update);
        }
    }

    fn patience(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(60);
        let left = self
            .next_look
            .map(|at| Duration::try_from(at.duration_since(now())).unwrap_or_default());
        left.unwrap_or(LONG).min(LONG)
    }

    async fn look(&mut self) {
        let Some(snapshot) = self.store.snapshot() else {
            return;
        };
        self.readiness.reached();
        let began = now();
        let decisions = reconcile(snapshot, began);
        let took = Duration::try_from(now().duration_since(began)).unwrap_or_default();
        self.metrics.reconciled(took, decisions.refusals);
        if !decisions.writes.is_empty() {
            tracing::info!(
                writes = decisions.writes.len(),
                refusals = decisions.refusals,
                "writing"
            );
        }
        let outcome = self.writer.apply(decisions.writes).await;
        let retry = match outcome {
            Outcome::Done => {
                self.failures = 0;
                None
            }
            Outcome::Retry => {
                let wait = RETRIES[self.failures.min(RETRIES.len() - 1)];
                self.failures = self.failures.saturating_add(1);
                now().checked_add(wait).ok()
            }
        };
        self.next_look = [decisions.next_deadline, retry].into_iter().flatten().min();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the shell: the one clock that the core is told"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
