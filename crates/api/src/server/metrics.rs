//! `/metrics` by itself, for a service that has no agent's interface: the proxy's process serves its own with it. It shows what it is
//! given, to whoever asks, and takes nothing.

use super::listen::accept;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use std::future::Future;
use tokio::net::TcpListener;

/// What OpenMetrics text is called.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves this text on `/metrics` until `shutdown` is over.
pub async fn serve_metrics<F, T>(listener: TcpListener, text: F, shutdown: impl Future<Output = ()> + Send)
where
    F: Fn() -> T + Clone + Send + Sync + 'static,
    T: Future<Output = String> + Send,
{
    let answer = move || {
        let text = text();
        async move { ([(header::CONTENT_TYPE, KIND)], text.await).into_response() }
    };
    accept(listener, Router::new().route("/metrics", get(answer)), shutdown).await;
}
