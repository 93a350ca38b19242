//! Is the gate well, and what has it counted?

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use super::{Health, Phase, Report};
use crate::metrics::Metrics;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The probes, and what becomes of a path or method that nobody serves.
pub(super) fn router(metrics: Arc<Metrics>, health: Arc<dyn Health>) -> Router {
    let ready = Arc::clone(&health);
    let metrics = move || async move { ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics.render()) };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(move || async move { healthz(health.report().phase) }))
        .route("/readyz", get(move || async move { readyz(&ready.report()) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing is here; try /\n") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "not by this method\n")
        })
}

fn healthz(phase: Phase) -> Response {
    match phase {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving => (StatusCode::OK, "serving\n"),
        Phase::Draining => (StatusCode::OK, "draining\n"),
    }
    .into_response()
}

fn readyz(report: &Report) -> Response {
    let ready = report.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let detail =
        serde_json::json!({"ready": ready, "phase": report.phase, "checks": report.checks});
    (status, [(header::CONTENT_TYPE, "application/json")], detail.to_string()).into_response()
}
