//! Which of a rule's identity providers judges a credential that is not ours: by its place, and by what it looks like.
//!
//! | the credential | is for |
//! |---|---|
//! | an API key that one of them knows | that one |
//! | looks like a JWT | the one whose issuer it names |
//! | anything else, and a JWT of another issuer | the one that asks an authorization server |
//!
//! Of several that would do, the first as written. It is judged by one and never tried with the next (P13).

use std::sync::Arc;

use crate::authz::credential::{Carrier, ForeignCredential};
use crate::authz::policy::provider::{IdentityProvider, ProviderKind};
use crate::authz::policy::{AuthRule, RuleProvider};
use crate::authz::reason::DenyReason;

/// The provider of `rule` for this credential.
pub(super) fn provider<'a>(
    rule: &'a AuthRule,
    credential: &ForeignCredential,
    place: &Carrier,
) -> Result<&'a Arc<IdentityProvider>, DenyReason> {
    let looking = || rule.providers.iter().filter_map(RuleProvider::known).filter(|it| it.places.contains(place));
    let knows = |provider: &&Arc<IdentityProvider>| match &provider.kind {
        ProviderKind::ApiKeys(keys) => keys.find(credential.digest()).is_some(),
        _ => false,
    };
    let issues = |provider: &&Arc<IdentityProvider>| match &provider.kind {
        ProviderKind::Jwt(issuer) => credential.claimed_issuer() == Some(&*issuer.trusted.issuer),
        _ => false,
    };
    let asks = |provider: &&Arc<IdentityProvider>| matches!(provider.kind, ProviderKind::Introspection(_));
    let chosen = looking().find(knows).or_else(|| looking().find(issues)).or_else(|| looking().find(asks));
    if let Some(chosen) = chosen {
        return Ok(chosen);
    }
    // It may be for the one that is not there.
    if rule.providers.iter().any(|it| it.known().is_none() && it.places().contains(place)) {
        return Err(DenyReason::ProviderMissing);
    }
    let has = |wanted: fn(&ProviderKind) -> bool| looking().any(|provider| wanted(&provider.kind));
    Err(if credential.is_jwt() && has(|kind| matches!(kind, ProviderKind::Jwt(_))) {
        DenyReason::UnknownIssuer
    } else if has(|kind| matches!(kind, ProviderKind::ApiKeys(_))) {
        DenyReason::UnknownApiKey
    } else {
        DenyReason::InvalidCredential
    })
}
