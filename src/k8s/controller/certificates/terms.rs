//! How long certificates are good, for those who watch over the controller that renews them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use super::{AUTHORITY, Term, objects};
use crate::authz::policy::ObjectName;

/// The term of what a Secret of this name holds. `None`: nothing that is ours to keep.
pub(super) fn of(name: &ObjectName, secret: &Secret, life: Duration) -> Option<Term> {
    if name.1 == AUTHORITY {
        let authority = objects::authority(secret).ok()?;
        return Some(Term { renewal: authority.renewal(life), ends: authority.current.certificate.ends });
    }
    let leaf = objects::shown(secret).ok()?.leaf?;
    Some(Term { renewal: leaf.renewal(), ends: leaf.certificate.ends })
}
