//! Where do people and programs sign?

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;

use super::compose;
use crate::config::{self, Config};
use crate::gate::Gate;
use crate::gate::desk::Hand;
use crate::hold::Reviewer;
use crate::review::api::{self, Api};
use crate::review::auth::{Access, Reviewers};
use crate::review::oidc::{self, Door, Oidc};
use crate::tls;

/// Everything of the operator's listener that asks who is there; it is reached at `bound`.
pub(super) fn router(
    config: &Config,
    bound: SocketAddr,
    gate: &Arc<Gate>,
    hand: &Arc<dyn Hand>,
) -> Result<Router, String> {
    let access = Arc::new(access(config, bound)?);
    let presets = config.hold.denials.clone();
    let api = Arc::new(Api::new(Arc::clone(gate), Arc::clone(hand), presets));
    let mut router = api::routes(api, Arc::clone(&access));
    if let Some(issuer) = &config.operator.oidc {
        let oidc = oidc(issuer, config.operator.url_at(bound))?;
        router = router.merge(oidc::routes(Arc::new(Door { oidc, access })));
    }
    Ok(router)
}

fn access(config: &Config, bound: SocketAddr) -> Result<Access, String> {
    let known = |reviewer: &config::Reviewer| {
        let config::Reviewer { id, groups, token } = reviewer.clone();
        (Reviewer { id, groups }, token.0)
    };
    let reviewers = Reviewers::new(config.reviewers.iter().map(known).collect());
    let key = compose::key(&config.state.join("session.key")).map_err(|e| e.to_string())?;
    let secure = config.operator.url_at(bound).starts_with("https:");
    let access = Access::new(reviewers, None, &key, secure);
    Ok(match &config.operator.oidc {
        Some(issuer) => access.with_elsewhere(issuer.issuer.clone(), oidc::SIGN_IN),
        None => access,
    })
}

fn oidc(issuer: &config::Oidc, url: String) -> Result<Oidc, String> {
    let client = match issuer.issuer.starts_with("https:") {
        true => tls::client(&tls::ClientFiles::default()),
        false => tls::plain_client(),
    };
    let settings = oidc::Settings {
        issuer: issuer.issuer.clone(),
        client_id: issuer.client_id.clone(),
        client_secret: issuer.client_secret.clone(),
        id_claim: issuer.id_claim.clone(),
        groups_claim: issuer.groups_claim.clone(),
        scopes: issuer.scopes.clone(),
        allowed: Default::default(),
        url,
    };
    Oidc::new(settings, tls::connector(client.map_err(|error| error.to_string())?))
}
