//! `/livez`, `/readyz`, `/metrics`. Liveness never depends on the API server: an outage must not restart directors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::metrics::Metrics;

/// Whether a pass over known Placements was read back.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on, ready.
    pub fn reached(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn status(&self) -> (StatusCode, &'static str) {
        if self.0.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "no pass over known Placements was read back yet\n",
            )
        }
    }
}

/// Serves until the process ends.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(address: SocketAddr, readiness: Readiness, metrics: Metrics) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another --admin-address"))?;
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness.status()))
        .route("/metrics", get(async move || metrics.text()));
    axum::serve(listener, router).await.context("the admin server ended")
}
