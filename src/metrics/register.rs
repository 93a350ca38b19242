//! How does a series get its name, its help and its buckets?

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::Build;

pub(super) const GATE_BUCKETS: &[f64] =
    &[25e-6, 50e-6, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 0.0128, 0.05, 0.25, 1.0];
pub(super) const STEP_BUCKETS: &[f64] =
    &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.025, 0.1, 1.0];
pub(super) const CALL_BUCKETS: &[f64] = &[
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 300.0,
];

pub(super) type Registered<T> = Result<T, prometheus::Error>;

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Registered<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

pub(super) fn counter(r: &Registry, name: &str, help: &str) -> Registered<IntCounter> {
    register(r, IntCounter::new(name, help)?)
}

pub(super) fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Registered<IntCounterVec> {
    register(r, IntCounterVec::new(Opts::new(name, help), labels)?)
}

pub(super) fn gauge(r: &Registry, name: &str, help: &str) -> Registered<Gauge> {
    register(r, Gauge::new(name, help)?)
}

pub(super) fn int_gauge(r: &Registry, name: &str, help: &str) -> Registered<IntGauge> {
    register(r, IntGauge::new(name, help)?)
}

pub(super) fn gauges(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Registered<IntGaugeVec> {
    register(r, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

pub(super) fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Registered<HistogramVec> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(r, HistogramVec::new(options, labels)?)
}

pub(super) fn gate_histogram(r: &Registry) -> Registered<Histogram> {
    let help = "The gate's own share of a call, upstream excluded, in seconds.";
    let options = HistogramOpts::new("gate_duration_seconds", help).buckets(GATE_BUCKETS.to_vec());
    register(r, Histogram::with_opts(options)?)
}

pub(super) fn info(r: &Registry, build: Build) -> Registered<()> {
    let help = "The binary that runs; always 1.";
    gauges(r, "build_info", help, &["version", "commit"])?
        .with_label_values(&[build.version, build.commit])
        .set(1);
    Ok(())
}
