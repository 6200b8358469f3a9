//! The session JWTs of identities that a provider vouches for: kept like those of sessions, in a cache of their own.
//!
//! What a JWT is kept for is one word of one provider, and one [`MintSpec`] (P5). The word is a value that its maker keeps for one
//! credential, one provider as it is now and a bounded time; whatever of that changes, another value takes its place, and a JWT
//! that was minted for the one before is not found any more.

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::keyring::{KeyId, Minted};
use crate::authz::identity::Identity;
use crate::authz::policy::MintSpec;
use crate::authz::session::Timestamp;

/// What all of it may take, in bytes (P32).
const MAX_BYTES: u64 = 8 << 20;
/// What the number of entries is guessed from; a wrong guess costs only table growth.
const TYPICAL_BYTES: u64 = 1_536;
/// What a slot of the cache, the `Arc`s and the allocator take beside the values themselves.
const OVERHEAD: usize = 256;

/// See the module's words.
pub(super) struct VouchedJwts(Cache<Key, Kept, ByWeight>);

/// The addresses of an identity and a spec. The entry keeps both alive, so that no address comes back while it is there.
type Key = (usize, usize);

#[derive(Clone)]
struct Kept {
    identity: Arc<Identity>,
    _spec: Arc<MintSpec>,
    minted: Minted,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Kept> for ByWeight {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        // All that a JWT says is in the identity too: in its own bytes, which base64url makes longer.
        let bytes = OVERHEAD + size_of::<Kept>() + size_of::<Identity>() + 2 * kept.minted.jwt.len();
        (bytes + kept.identity.claims.as_json().len()) as u64
    }
}

impl Default for VouchedJwts {
    fn default() -> Self {
        let items = usize::try_from(MAX_BYTES / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items, MAX_BYTES, ByWeight))
    }
}

impl VouchedJwts {
    /// The JWT that was minted for this with `key`, while it is fresh.
    pub(super) fn kept(
        &self,
        identity: &Arc<Identity>,
        spec: &Arc<MintSpec>,
        key: &KeyId,
        now: Timestamp,
    ) -> Option<Bytes> {
        let kept = self.0.get(&address(identity, spec))?;
        (kept.minted.key == *key && now < kept.minted.fresh_until).then_some(kept.minted.jwt)
    }

    /// Keeps the JWT, and hands it on.
    pub(super) fn keep(&self, identity: &Arc<Identity>, spec: &Arc<MintSpec>, minted: Minted) -> Bytes {
        let jwt = minted.jwt.clone();
        let kept = Kept { identity: Arc::clone(identity), _spec: Arc::clone(spec), minted };
        self.0.insert(address(identity, spec), kept);
        jwt
    }
}

fn address(identity: &Arc<Identity>, spec: &Arc<MintSpec>) -> Key {
    (Arc::as_ptr(identity).addr(), Arc::as_ptr(spec).addr())
}
