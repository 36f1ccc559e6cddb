//! The metrics at `/metrics`: requests, errors, durations, instances and cold starts per component, generation and
//! route, and calls over links.

use crate::link::binding::Binding;
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
    memory: IntGaugeVec,
    link_calls: IntCounterVec,
    link_durations: HistogramVec,
    bindings: IntGaugeVec,
}

/// The metrics of one route, with resolved labels.
#[derive(Clone)]
pub struct RouteMetrics {
    classes: [IntCounter; 5],
    duration: Histogram,
}

/// The metrics of one link to one generation, with resolved labels.
#[derive(Clone)]
pub struct LinkMetrics {
    /// Calls that were answered, including those answered with an error of the interface.
    pub answered: IntCounter,
    /// Calls that the callee answered with `unavailable`.
    pub unavailable: IntCounter,
    /// Calls without an answer in time.
    pub timed_out: IntCounter,
    /// Calls whose instance trapped or failed.
    pub broken: IntCounter,
    /// Calls without capacity.
    pub full: IntCounter,
    /// Calls that the circuit breaker rejected.
    pub breaker_open: IntCounter,
    /// Durations until the answer, in seconds.
    pub duration: Histogram,
}

/// The metrics of one generation of a component, with resolved labels.
#[derive(Clone)]
pub struct ComponentMetrics {
    all: Metrics,
    component: String,
    generation: String,
    /// Live instances.
    pub instances: IntGauge,
    /// The linear memory of these instances in bytes.
    pub memory: IntGauge,
    /// Durations of the creation of an instance, in seconds.
    pub cold_starts: Histogram,
    /// Requests that were rejected before a guest saw them.
    pub rejected: IntCounter,
    /// Calls that ended with a trap.
    pub trapped: IntCounter,
    /// Calls that missed their deadline.
    pub timed_out: IntCounter,
    /// How often it exceeded its memory limit.
    pub limited_memory: IntCounter,
    /// How often it had to wait because its share of Postgres connections was used up.
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
            "HTTP requests by class of status.",
            &["component", "generation", "route", "status"],
        )?;
        let durations = histogram(
            "localmart_http_request_duration_seconds",
            "Seconds from a request to its response headers.",
            &["component", "generation", "route"],
        )?;
        let cold_starts = histogram(
            "localmart_cold_start_seconds",
            "Seconds to create an instance.",
            &["component", "generation"],
        )?;
        let rejected = counter(
            "localmart_rejected_total",
            "Requests rejected because the component had no capacity.",
            &["component", "generation"],
        )?;
        let failed = counter(
            "localmart_failed_calls_total",
            "Calls that failed because of a trap or a timeout.",
            &["component", "generation", "reason"],
        )?;
        let limited = counter(
            "localmart_limited_total",
            "How often a component reached the limit of a resource.",
            &["component", "generation", "resource"],
        )?;
        let link_calls = counter(
            "localmart_link_calls_total",
            "Calls over links by outcome.",
            &["binding", "callee", "caller", "generation", "outcome"],
        )?;
        let link_durations = histogram(
            "localmart_link_call_duration_seconds",
            "Seconds until a call over a link was answered.",
            &["binding", "callee", "caller", "generation"],
        )?;
        let memory = IntGaugeVec::new(
            Opts::new(
                "localmart_memory_bytes",
                "Bytes of linear memory of live instances.",
            ),
            &["component", "generation"],
        )?;
        registry.register(Box::new(memory.clone()))?;
        let bindings = IntGaugeVec::new(
            Opts::new(
                "localmart_link_binding",
                "The binding of each link; the value is always 1.",
            ),
            &["binding", "callee", "caller"],
        )?;
        registry.register(Box::new(bindings.clone()))?;
        let instances = IntGaugeVec::new(
            Opts::new("localmart_instances", "Number of live instances."),
            &["component", "generation"],
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
            memory,
            link_calls,
            link_durations,
            bindings,
        })
    }

    /// Records the binding of a link.
    pub fn set_binding(&self, caller: &str, callee: &str, binding: Binding) {
        let labels = [binding.name(), callee, caller];
        self.bindings.with_label_values(&labels).set(1);
    }

    /// The metrics of a route for one generation of a component.
    pub fn route(&self, component: &str, generation: u64, route: &str) -> RouteMetrics {
        let generation = generation.to_string();
        let class = |class: &str| {
            let labels = [component, generation.as_str(), route, class];
            self.requests.with_label_values(&labels)
        };
        RouteMetrics {
            classes: [
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            duration: self
                .durations
                .with_label_values(&[component, generation.as_str(), route]),
        }
    }

    /// The metrics of a generation of a component.
    pub fn component(&self, component: &str, number: u64) -> ComponentMetrics {
        let generation = number.to_string();
        let own = [component, generation.as_str()];
        let failed = |reason| [component, generation.as_str(), reason];
        ComponentMetrics {
            instances: self.instances.with_label_values(&own),
            memory: self.memory.with_label_values(&own),
            cold_starts: self.cold_starts.with_label_values(&own),
            rejected: self.rejected.with_label_values(&own),
            trapped: self.failed.with_label_values(&failed("trap")),
            timed_out: self.failed.with_label_values(&failed("timeout")),
            limited_memory: self.limited.with_label_values(&failed("memory")),
            limited_connections: self.limited.with_label_values(&failed("postgres")),
            all: self.clone(),
            component: component.to_owned(),
            generation,
        }
    }

    /// All metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl ComponentMetrics {
    /// The metrics of calls from another component.
    pub fn link(&self, caller: &str, binding: Binding) -> LinkMetrics {
        let labels = [binding.name(), &self.component, caller, &self.generation];
        let outcome = |outcome| {
            let [binding, callee, caller, generation] = labels;
            let labels = [binding, callee, caller, generation, outcome];
            self.all.link_calls.with_label_values(&labels)
        };
        LinkMetrics {
            answered: outcome("answered"),
            unavailable: outcome("unavailable"),
            timed_out: outcome("timeout"),
            broken: outcome("broken"),
            full: outcome("full"),
            breaker_open: outcome("circuit_open"),
            duration: self.all.link_durations.with_label_values(&labels),
        }
    }

    /// Removes the gauges of a generation that has ended.
    pub fn forget(&self) {
        let labels = [self.component.as_str(), self.generation.as_str()];
        // They may have been removed already.
        let _ = self.all.instances.remove_label_values(&labels);
        let _ = self.all.memory.remove_label_values(&labels);
    }
}

impl RouteMetrics {
    /// Counts a response.
    pub fn observe(&self, status: u16, time: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.classes.get(class) {
            counter.inc();
        }
        self.duration.observe(time.as_secs_f64());
    }
}
