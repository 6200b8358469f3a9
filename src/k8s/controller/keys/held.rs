//! A Secret of the name that ours have, as it was seen.

use k8s_openapi::api::core::v1::Secret;

use super::SECRET;
use crate::k8s::controller::ours::{self, Fault};
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::bundle::KeyBundle;

/// The keys in it, or why there are none.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
    pub(super) keys: Result<KeyBundle, Fault>,
    /// Why the keys, which are kept and served all the same, are not for shared gates.
    pub(super) apart: Option<Fault>,
}

impl Held {
    /// `together`: the `jwt.algorithm` of shared gates, where there are any.
    pub(super) fn of(secret: Secret, together: Option<SigningAlgorithm>) -> Self {
        let place = format!("Secret {}/{SECRET}", secret.metadata.namespace.as_deref().unwrap_or_default());
        let keys = if is_ours(&secret) {
            let data = secret.data.as_ref();
            KeyBundle::read(&place, |file| Some(data?.get(file)?.0.as_slice())).map_err(|error| Fault {
                reason: "KeysBroken",
                words: format!(
                    "{error}. Or delete the Secret: new keys are made, and services refuse JWTs until they know them"
                ),
            })
        } else {
            Err(Fault::foreign("the signing keys", "there are no keys"))
        };
        let refused = keys.as_ref().ok().zip(together);
        let refused = refused.and_then(|(keys, algorithm)| keys.among_others(&place, algorithm).err());
        let apart = refused.map(|error| Fault {
            reason: "KeysTooSlow",
            words: format!(
                "{error}. Until then shared gates have no key for this namespace. Or delete the Secret: new keys are made, and services \
                 refuse JWTs until they know them"
            ),
        });
        Self { uid: secret.metadata.uid, version: secret.metadata.resource_version, keys, apart }
    }
}

fn is_ours(secret: &Secret) -> bool {
    ours::is_ours(&secret.metadata) && secret.type_.as_deref().is_none_or(|it| it == "Opaque")
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;
    use crate::authz::session::Timestamp;
    use crate::k8s::controller::keys::secret_of;

    #[test]
    fn p10_keys_for_another_algorithm_are_kept_and_served_and_slow_ones_lie_apart() {
        use SigningAlgorithm::{EdDsa, Es256, Ps256, Rs256};
        for (made_for, together, is_apart) in [
            (Rs256, None, false), // each namespace waits for its own signatures
            (Es256, None, false),
            (Rs256, Some(Es256), true), // others would wait for them (P28)
            (Rs256, Some(Ps256), false),
            (Es256, Some(EdDsa), false),
            (Es256, Some(Rs256), false),
        ] {
            let keys = KeyBundle::generate(made_for, Timestamp::from_millis(1_800_000_000_000)).unwrap();
            let metadata = ObjectMeta { namespace: Some("shop".to_owned()), ..ObjectMeta::default() };
            let held = Held::of(secret_of(&keys, metadata), together);
            assert!(held.keys.is_ok(), "{made_for} {together:?}");
            let apart =
                held.apart.map(|it| (it.reason, it.words.starts_with("Secret shop/cloakroom-keys/keyring.yaml: key ")));
            assert_eq!(apart, is_apart.then_some(("KeysTooSlow", true)), "{made_for} {together:?}");
        }
    }

    #[test]
    fn what_is_not_ours_or_broken_is_neither_kept_nor_put_together() {
        let keys = KeyBundle::generate(SigningAlgorithm::Es256, Timestamp::from_millis(1_800_000_000_000)).unwrap();
        let ours = secret_of(&keys, ObjectMeta::default());
        let of_another_type = Secret { type_: Some("kubernetes.io/tls".to_owned()), ..ours.clone() };
        let empty = Secret { data: None, ..ours };
        for (secret, reason) in [(Secret::default(), "NotOurs"), (of_another_type, "NotOurs"), (empty, "KeysBroken")] {
            let held = Held::of(secret, Some(SigningAlgorithm::Es256));
            assert_eq!((held.keys.unwrap_err().reason, held.apart), (reason, None));
        }
    }
}
