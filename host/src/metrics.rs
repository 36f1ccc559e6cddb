//! The numbers at `/metrics`: requests, errors, durations, instances and cold starts, per component and route.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::time::Duration;

/// Upper bounds of the duration histograms, in seconds.
const BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// All metrics of a host.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    instances: IntGaugeVec,
    cold_starts: HistogramVec,
    rejected: IntCounterVec,
    failed: IntCounterVec,
    limited: IntCounterVec,
}

/// The metrics of one route, looked up once.
#[derive(Clone)]
pub struct RouteMetrics {
    classes: [IntCounter; 5],
    duration: Histogram,
}

/// The metrics of one component, looked up once.
#[derive(Clone)]
pub struct ComponentMetrics {
    /// Live instances.
    pub instances: IntGauge,
    /// Seconds that making an instance took.
    pub cold_starts: Histogram,
    /// Requests refused before a guest saw them.
    pub rejected: IntCounter,
    /// Calls that ended in a trap.
    pub trapped: IntCounter,
    /// Calls that missed their deadline.
    pub timed_out: IntCounter,
    /// Times that it wanted more memory than it may have.
    pub limited_memory: IntCounter,
    /// Times that it wanted more Postgres connections than it may hold.
    pub limited_connections: IntCounter,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> anyhow::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| -> anyhow::Result<HistogramVec> {
            let metric = HistogramVec::new(
                HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()),
                labels,
            )?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let requests = counter(
            "localmart_http_requests_total",
            "Requests answered, by class of status.",
            &["component", "route", "status"],
        )?;
        let durations = histogram(
            "localmart_http_request_duration_seconds",
            "Time until the response headers.",
            &["component", "route"],
        )?;
        let cold_starts = histogram(
            "localmart_cold_start_seconds",
            "Time to make an instance.",
            &["component"],
        )?;
        let rejected = counter(
            "localmart_rejected_total",
            "Requests refused because the component was full.",
            &["component"],
        )?;
        let failed = counter(
            "localmart_failed_calls_total",
            "Calls that the guest did not answer: trap or timeout.",
            &["component", "reason"],
        )?;
        let limited = counter(
            "localmart_limited_total",
            "Times that a guest wanted more than it may have.",
            &["component", "resource"],
        )?;
        let instances = IntGaugeVec::new(
            Opts::new("localmart_instances", "Live instances."),
            &["component"],
        )?;
        registry.register(Box::new(instances.clone()))?;
        Ok(Self {
            registry,
            requests,
            durations,
            instances,
            cold_starts,
            rejected,
            failed,
            limited,
        })
    }

    /// The metrics of a route.
    pub fn route(&self, component: &str, route: &str) -> RouteMetrics {
        let class = |class: &str| self.requests.with_label_values(&[component, route, class]);
        RouteMetrics {
            classes: [
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            duration: self.durations.with_label_values(&[component, route]),
        }
    }

    /// The metrics of a component.
    pub fn component(&self, component: &str) -> ComponentMetrics {
        ComponentMetrics {
            instances: self.instances.with_label_values(&[component]),
            cold_starts: self.cold_starts.with_label_values(&[component]),
            rejected: self.rejected.with_label_values(&[component]),
            trapped: self.failed.with_label_values(&[component, "trap"]),
            timed_out: self.failed.with_label_values(&[component, "timeout"]),
            limited_memory: self.limited.with_label_values(&[component, "memory"]),
            limited_connections: self.limited.with_label_values(&[component, "postgres"]),
        }
    }

    /// The Prometheus text format.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics cannot be written");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl RouteMetrics {
    /// Counts an answer.
    pub fn observe(&self, status: u16, time: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.classes.get(class) {
            counter.inc();
        }
        self.duration.observe(time.as_secs_f64());
    }
}
