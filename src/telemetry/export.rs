//! How do spans reach the collector?
//!
//! In batches, over OTLP, from threads of their own: the gate never waits for a collector, and a
//! collector that is slow or gone costs spans, not calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Handle, Runtime};

use super::Fault;

const TRACES_PATH: &str = "/v1/traces";

/// How OTLP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Protobuf over HTTP, usually port 4318.
    #[default]
    Http,
    /// gRPC, usually port 4317.
    Grpc,
}

/// The collector that spans go to.
#[derive(Clone)]
pub struct Otlp {
    /// Its base URL, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// How OTLP travels there.
    pub protocol: Protocol,
    /// Headers that each export carries; their values are secrets.
    pub headers: Vec<(String, String)>,
    /// How long one export may take.
    pub timeout: Duration,
    /// The share of traces that begin here to keep, 0 to 1. A trace that began elsewhere is kept
    /// if its caller keeps it.
    pub sample_ratio: f64,
}

// Headers carry credentials; say which, not what.
impl std::fmt::Debug for Otlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("sample_ratio", &self.sample_ratio)
            .finish()
    }
}

impl Otlp {
    /// A collector at `endpoint`, and everything else as is usual.
    pub fn to(endpoint: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            endpoint: endpoint.into(),
            protocol,
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            sample_ratio: 1.0,
        }
    }

    fn fault(&self, reason: impl std::fmt::Display) -> Fault {
        Fault::Endpoint { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }

    fn uri(&self) -> Result<Uri, Fault> {
        let uri: Uri = self.endpoint.parse().map_err(|error| self.fault(error))?;
        if uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")) {
            Ok(uri)
        } else {
            Err(self.fault("it has to begin with `http://` or `https://` and name a host"))
        }
    }

    fn traces_url(&self) -> String {
        let base = self.endpoint.trim_end_matches('/');
        if base.ends_with(TRACES_PATH) { base.to_owned() } else { format!("{base}{TRACES_PATH}") }
    }

    fn header_map(&self) -> Result<HeaderMap, Fault> {
        self.headers
            .iter()
            .map(|(name, value)| {
                let wrong = || self.fault(format!("header `{name}` is not a valid header"));
                let key: HeaderName = name.parse().map_err(|_| wrong())?;
                let value: HeaderValue = value.parse().map_err(|_| wrong())?;
                Ok((key, value))
            })
            .collect()
    }

    fn exporter(&self) -> Result<opentelemetry_otlp::SpanExporter, Fault> {
        let secure = self.uri()?.scheme_str() == Some("https");
        let headers = self.header_map()?;
        let builder = opentelemetry_otlp::SpanExporter::builder();
        let built = match self.protocol {
            Protocol::Http => {
                let builder = builder.with_http().with_endpoint(self.traces_url());
                let builder = builder.with_timeout(self.timeout).with_headers(texts(&self.headers));
                if secure {
                    builder.with_http_client(self.secure_client()?).build()
                } else {
                    let plain = HyperClient::with_default_connector(self.timeout, None);
                    builder.with_http_client(plain).build()
                }
            }
            Protocol::Grpc => {
                let builder = builder.with_tonic().with_endpoint(&*self.endpoint);
                let builder = builder
                    .with_timeout(self.timeout)
                    .with_metadata(MetadataMap::from_headers(headers));
                if secure {
                    builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()).build()
                } else {
                    builder.build()
                }
            }
        };
        built.map_err(|error| self.fault(error))
    }

    fn secure_client(
        &self,
    ) -> Result<
        HyperClient<
            hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>,
        >,
        Fault,
    > {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| self.fault(error))?
            .https_only()
            .enable_http1()
            .build();
        Ok(HyperClient::new(connector, self.timeout, None))
    }
}

fn texts(headers: &[(String, String)]) -> HashMap<String, String> {
    headers.iter().cloned().collect()
}

/// What sends spans, while it lives.
pub(super) struct Sender {
    provider: SdkTracerProvider,
    runtime: Runtime,
}

impl Sender {
    pub(super) fn start(otlp: &Otlp) -> Result<Self, Fault> {
        // Its own, so that it can still send while the process's runtime shuts down.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()?;
        let exporter = {
            let _entered = runtime.enter();
            otlp.exporter()?
        };
        let exporter = OnRuntime {
            exporter: Arc::new(exporter),
            runtime: runtime.handle().clone(),
            failing: AtomicBool::new(false),
        };
        let ratio = Sampler::TraceIdRatioBased(otlp.sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_resource(resource())
            .build();
        Ok(Self { provider, runtime })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("countersign")
    }

    pub(super) fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::debug!(%error, "spans could not be flushed");
        }
    }

    pub(super) fn stop(self, within: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(within) {
            tracing::warn!(%error, "the last spans may not have reached the collector");
        }
        // In a task of another runtime, dropping it would panic; this does not wait.
        self.runtime.shutdown_background();
    }
}

fn resource() -> Resource {
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let built = Resource::builder().with_attribute(version);
    // OTEL_SERVICE_NAME, read by the builder, names the pod's own service.
    if std::env::var_os("OTEL_SERVICE_NAME").is_some() {
        built.build()
    } else {
        built.with_service_name("countersign").build()
    }
}

/// An exporter whose work runs on a runtime: the batches come from a plain thread.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    failing: AtomicBool,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let sent = self.runtime.spawn(async move { exporter.export(batch).await }).await;
        let sent = sent.unwrap_or_else(|gone| Err(OTelSdkError::InternalFailure(gone.to_string())));
        self.tell(&sent);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

impl OnRuntime {
    /// One line when the collector is lost, one when it is back; not one for each batch.
    fn tell(&self, sent: &OTelSdkResult) {
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        match sent {
            Err(error) if !failed_before => {
                tracing::warn!(%error, "spans cannot be sent to the collector, and are dropped");
            }
            Ok(()) if failed_before => tracing::info!("spans reach the collector again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_at_start() {
        for (endpoint, works) in [
            ("http://127.0.0.1:4318", true),
            ("http://collector:4318/", true),
            ("https://collector.example/v1/traces", true),
            ("127.0.0.1:4318", false),
            ("grpc://127.0.0.1:4317", false),
            ("/v1/traces", false),
            ("", false),
        ] {
            let otlp = Otlp::to(endpoint, Protocol::Http);
            assert_eq!(otlp.uri().is_ok(), works, "{endpoint}");
        }
        for (endpoint, url) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("http://c/otlp", "http://c/otlp/v1/traces"),
            ("http://c/v1/traces", "http://c/v1/traces"),
        ] {
            assert_eq!(Otlp::to(endpoint, Protocol::Http).traces_url(), url);
        }
    }

    #[test]
    fn both_protocols_can_be_encrypted() {
        for protocol in [Protocol::Http, Protocol::Grpc] {
            let sender = Sender::start(&Otlp::to("https://collector.example:4317", protocol));
            sender.unwrap().stop(Duration::ZERO);
        }
    }

    #[test]
    fn o6_header_values_are_not_shown() {
        let mut otlp = Otlp::to("http://c", Protocol::Http);
        otlp.headers.push(("authorization".into(), "Bearer canary".into()));
        assert!(!format!("{otlp:?}").contains("canary"));
        otlp.headers.push(("x\n".into(), "canary".into()));
        let fault = otlp.exporter().err().map(|fault| fault.to_string()).unwrap();
        assert!(fault.contains("not a valid header") && !fault.contains("canary"), "{fault}");
    }
}
