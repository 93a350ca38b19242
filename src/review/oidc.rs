//! Who signs in, by the word of an issuer?
//!
//! OpenID Connect Core 1.0, the authorization code flow with PKCE (RFC 7636). The issuer is asked
//! for its addresses and keys when somebody first signs in, and again when they grow old. What an
//! ID token says counts once its signature (never a symmetric one), issuer, audience, expiry and
//! nonce were checked; claims that it leaves out are asked of the userinfo endpoint.

mod claims;
mod routes;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenVerifier,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreTokenResponse,
};
use openidconnect::{
    AccessTokenHash, AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::Secret;
use crate::hold::Reviewer;
use crate::time::At;
use crate::tls::Connector;
pub use routes::{CALLBACK, SIGN_IN, routes};
use wire::{Wire, causes};

/// How long people have to prove who they are.
const FLOW_TIME: Duration = Duration::from_secs(10 * 60);
/// How old an issuer's addresses and keys may be.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// The least time between two looks at them, whatever tokens come.
const AGAIN: Duration = Duration::from_secs(30);
/// How long an issuer that did not answer is left alone.
const AWAY: Duration = Duration::from_secs(1);

/// Public keys only: who checks a symmetric signature could make one.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// An issuer, as the operator describes it.
pub struct Settings {
    /// The issuer, as it writes itself.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// What we prove that with; a public client has none.
    pub client_secret: Option<Secret>,
    /// The claim that names a person; an `email` counts only if it is verified.
    pub id_claim: String,
    /// The claim that lists their groups.
    pub groups_claim: String,
    /// What we ask to be told; `openid` is among them.
    pub scopes: Vec<String>,
    /// Who of them may come in: `ann`, `group:payments`; all of them, if empty.
    pub allow: BTreeSet<String>,
    /// How people reach us, such as `https://review.example.com`.
    pub url: String,
}

/// Why somebody is not signed in. They read it; the cause is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not begun in this browser, or too long ago, or done already.
    #[error("this sign-in was begun elsewhere or too long ago; begin again")]
    Stale,
    /// The issuer says no, or they did.
    #[error("the identity provider did not let you in; begin again, or ask whoever runs it")]
    Declined,
    /// The issuer does not answer.
    #[error("the identity provider cannot be reached; try again in a while")]
    Unreachable,
    /// What it says does not hold.
    #[error("what the identity provider says is not accepted here")]
    NotAccepted,
    /// An address that they may not own.
    #[error("your address is not verified; verify it with the identity provider")]
    Unverified,
    /// It does not say who they are in words that can be used.
    #[error("the identity provider gives no name for you that can be used here")]
    Nameless,
    /// Not one of those who may.
    #[error("you may not sign in here; ask whoever runs this gate")]
    NotAllowed,
}

/// What has to be the same when somebody comes back. Kept in their browser, signed.
#[derive(Debug, Serialize, Deserialize)]
struct Flow {
    state: String,
    nonce: String,
    verifier: String,
    until: At,
}

/// What an issuer publishes of itself, read a while ago.
struct Published {
    metadata: CoreProviderMetadata,
    read_at: Instant,
}

/// What is known of an issuer.
#[derive(Default)]
struct Known {
    published: Option<Arc<Published>>,
    /// When it last did not answer.
    away_at: Option<Instant>,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Lets people sign in with an issuer.
pub struct Oidc {
    settings: Settings,
    issuer: IssuerUrl,
    back: RedirectUrl,
    wire: Wire,
    known: Mutex<Known>,
}

impl Oidc {
    /// Sign-in with this issuer. It is not asked anything yet.
    ///
    /// # Errors
    /// If one of the addresses is none; what the config lets through is one.
    pub fn new(settings: Settings, connector: Connector) -> Result<Self, String> {
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| error.to_string())?;
        let back = RedirectUrl::new(format!("{}{CALLBACK}", settings.url))
            .map_err(|error| error.to_string())?;
        Ok(Self { settings, issuer, back, wire: Wire::new(connector), known: Mutex::default() })
    }

    /// Where to send somebody, and what has to be the same when they come back.
    async fn begin(&self) -> Result<(String, Flow), Fault> {
        let published = self.published(FRESH).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client(&published);
        let scopes = self.settings.scopes.iter().filter(|scope| *scope != "openid");
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(scopes.cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        let flow = Flow {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            until: At::now().plus(FLOW_TIME),
        };
        Ok((url.into(), flow))
    }

    /// Who came back with this code.
    async fn finish(&self, flow: Flow, code: String) -> Result<Reviewer, Fault> {
        let published = self.published(FRESH).await?;
        let answer = self.exchange(&published, code, flow.verifier).await?;
        let token = answer.id_token().ok_or_else(|| not_accepted("there is no ID token"))?;
        let nonce = Nonce::new(flow.nonce);
        if let Err(first) = self.check(&published, &answer, token, &nonce) {
            // Its keys may have changed since.
            let newer = self.published(AGAIN).await?;
            if Arc::ptr_eq(&newer, &published) {
                return Err(not_accepted(&first));
            }
            self.check(&newer, &answer, token, &nonce).map_err(|cause| not_accepted(&cause))?;
        }
        let mut said = claims::of_token(token)?;
        if self.wants_more(&said)
            && let Some(more) = self.userinfo(&published, &answer).await?
        {
            claims::add(&mut said, more)?;
        }
        let Settings { id_claim, groups_claim, allow, .. } = &self.settings;
        let reviewer = claims::reviewer(&said, id_claim, groups_claim)?;
        if reviewer.is_among(allow) {
            return Ok(reviewer);
        }
        tracing::info!(reviewer = reviewer.id, "`operator.oidc.allow` lets somebody not in");
        Err(Fault::NotAllowed)
    }

    async fn exchange(
        &self,
        published: &Published,
        code: String,
        verifier: String,
    ) -> Result<CoreTokenResponse, Fault> {
        let client = self.client(published);
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| not_accepted(&error.to_string()))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier));
        request.request_async(&self.wire).await.map_err(|error| match error {
            openidconnect::RequestTokenError::Request(error) => unreachable(&error),
            // Whatever else it says may hold what it was asked with.
            openidconnect::RequestTokenError::ServerResponse(said) => {
                not_accepted(&format!("the code was not taken: {}", said.error()))
            }
            _ => not_accepted("the answer to the code is not one of RFC 6749"),
        })
    }

    /// Whether the token is from this issuer, for us and for this sign-in, and still good.
    fn check(
        &self,
        published: &Published,
        answer: &CoreTokenResponse,
        token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<(), String> {
        // A public client's verifier knows no secret to check a symmetric signature with.
        let verifier = CoreIdTokenVerifier::new_public_client(
            ClientId::new(self.settings.client_id.clone()),
            self.issuer.clone(),
            published.metadata.jwks().clone(),
        )
        .set_allowed_algs(ALGORITHMS);
        let claims = token.claims(&verifier, nonce).map_err(|error| causes(&error))?;
        let Some(expected) = claims.access_token_hash() else { return Ok(()) };
        let algorithm = token.signing_alg().map_err(|error| causes(&error))?;
        let key = token.signing_key(&verifier).map_err(|error| causes(&error))?;
        let found = AccessTokenHash::from_token(answer.access_token(), algorithm, key)
            .map_err(|error| causes(&error))?;
        if found == *expected { Ok(()) } else { Err("the access token is another one".to_owned()) }
    }

    fn wants_more(&self, said: &claims::Claims) -> bool {
        let missing = |name: &str| !said.contains_key(name);
        let Settings { id_claim, groups_claim, .. } = &self.settings;
        missing(id_claim)
            || missing(groups_claim)
            || (id_claim == claims::EMAIL && missing(claims::EMAIL_VERIFIED))
    }

    /// What the userinfo endpoint says, if there is one (OpenID Connect Core 1.0, section 5.3).
    async fn userinfo(
        &self,
        published: &Published,
        answer: &CoreTokenResponse,
    ) -> Result<Option<claims::Claims>, Fault> {
        let Some(endpoint) = published.metadata.userinfo_endpoint() else { return Ok(None) };
        let request = http::Request::get(endpoint.as_str())
            .header(http::header::ACCEPT, "application/json")
            .header(
                http::header::AUTHORIZATION,
                format!("Bearer {}", answer.access_token().secret()),
            )
            .body(Vec::new())
            .map_err(|_| not_accepted("the userinfo endpoint is no address"))?;
        let answer = openidconnect::AsyncHttpClient::call(&self.wire, request);
        let answer = answer.await.map_err(|error| unreachable(&error))?;
        if answer.status() != http::StatusCode::OK {
            return Err(not_accepted(&format!("userinfo answered with {}", answer.status())));
        }
        claims::read(answer.body()).map(Some)
    }

    /// What the issuer publishes, no older than this.
    async fn published(&self, age: Duration) -> Result<Arc<Published>, Fault> {
        let mut known = self.known.lock().await;
        if let Some(read) = known.published.as_ref().filter(|read| read.read_at.elapsed() < age) {
            return Ok(Arc::clone(read));
        }
        // Those who waited for this answer need not each wait for one of their own.
        if known.away_at.is_some_and(|at| at.elapsed() < AWAY) {
            return Err(Fault::Unreachable);
        }
        let asked = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.wire).await;
        let metadata = asked.map_err(|error| {
            known.away_at = Some(Instant::now());
            unreachable(&error)
        })?;
        let read = Arc::new(Published { metadata, read_at: Instant::now() });
        known.published = Some(Arc::clone(&read));
        Ok(read)
    }

    fn client(&self, published: &Published) -> Client {
        let secret = self.settings.client_secret.as_ref();
        let client = CoreClient::from_provider_metadata(
            published.metadata.clone(),
            ClientId::new(self.settings.client_id.clone()),
            secret.map(|secret| ClientSecret::new(secret.expose().to_owned())),
        )
        .set_redirect_uri(self.back.clone());
        // In the header, unless the issuer reads bodies only.
        let reads = published.metadata.token_endpoint_auth_methods_supported();
        let header = CoreClientAuthMethod::ClientSecretBasic;
        if reads.is_some_and(|methods| !methods.contains(&header)) {
            client.set_auth_type(AuthType::RequestBody)
        } else {
            client
        }
    }
}

fn unreachable(error: &(dyn std::error::Error + 'static)) -> Fault {
    tracing::warn!(error = causes(error), "the identity provider cannot be asked");
    Fault::Unreachable
}

fn not_accepted(cause: &str) -> Fault {
    tracing::warn!(cause, "what the identity provider says is not accepted");
    Fault::NotAccepted
}
