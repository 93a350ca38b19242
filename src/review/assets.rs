//! What does a page load besides itself?
//!
//! Only what is built in. Each address has the digest of what it answers with, so a browser may
//! keep it for ever, and a new release has new addresses.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::json::Digest;

/// One file.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const FILES: [Asset; 5] = [
    Asset {
        name: "page.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("assets/page.css"),
    },
    Asset {
        name: "page.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/page.js"),
    },
    Asset {
        name: "htmx.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/htmx-2.0.11.min.js"),
    },
    Asset {
        name: "sse.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/htmx-ext-sse-2.2.4.min.js"),
    },
    Asset {
        name: "icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("assets/icon.svg"),
    },
];

/// Where each is.
pub(super) struct Addresses {
    /// The stylesheet.
    pub(super) style: String,
    /// Our own script.
    pub(super) script: String,
    /// htmx.
    pub(super) htmx: String,
    /// Its extension for event streams.
    pub(super) sse: String,
    /// The picture in the tab.
    pub(super) icon: String,
}

/// Where each is.
pub(super) static AT: LazyLock<Addresses> = LazyLock::new(|| {
    let [style, script, htmx, sse, icon] = FILES.each_ref().map(address);
    Addresses { style, script, htmx, sse, icon }
});

fn address(asset: &Asset) -> String {
    let digest = hex::encode(Digest::of(asset.bytes).0);
    format!("/assets/{}/{}", digest.get(..16).unwrap_or_default(), asset.name)
}

/// Answers with one of them.
pub(super) async fn asset(Path((digest, name)): Path<(String, String)>) -> Response {
    let wanted = format!("/assets/{digest}/{name}");
    let Some(asset) = FILES.iter().find(|asset| address(asset) == wanted) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.bytes).into_response()
}
