//! What of it goes into a snapshot, and comes out of one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Arrived, Held, Known, Part, origin};
use crate::authz::policy::{PolicyIndex, PolicyInput, PolicyObjects};
use crate::k8s::kind::Source;
use crate::k8s::version::ResourceVersion;

/// [`Part`], as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::k8s) struct KeptPart {
    source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<ResourceVersion>,
    objects: Vec<KeptObject>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptObject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<ResourceVersion>,
    /// The newest form.
    newest: Value,
    /// The last good one, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    good: Option<Value>,
}

impl Known {
    /// What to keep: every object, and the last good forms that are in force.
    pub(in crate::k8s) fn keep(&self, in_force: &PolicyIndex) -> Result<Vec<KeptPart>, serde_json::Error> {
        let part = |part: &Part| -> Result<KeptPart, serde_json::Error> {
            let objects = part.objects.values().map(|held| held.keep(in_force)).collect::<Result<_, _>>()?;
            Ok(KeptPart { source: part.source.clone(), version: part.version.clone(), objects })
        };
        self.0.iter().filter(|part| part.source.kind.is_kept()).map(part).collect()
    }

    /// Takes up what was kept, and gives the last good forms of the policies. Parts of other sources are left out.
    pub(in crate::k8s) fn take_up(&mut self, kept: Vec<KeptPart>) -> PolicyObjects {
        let mut good = PolicyObjects::default();
        for kept in kept {
            let Some(part) = self.0.iter_mut().find(|part| part.source == kept.source) else { continue };
            let kind = part.source.kind;
            let arrived = |value: Value| Arrived::of(kind, kind.versions()[0], value);
            for object in kept.objects {
                let before = object
                    .good
                    .and_then(arrived)
                    .map(|Arrived { name, value, .. }| Held::read(kind, &name, None, value, None));
                let Some(newest) = arrived(object.newest) else { continue };
                let newest = Arrived { version: object.version, ..newest };
                let name = newest.name.clone();
                part.insert(newest, before.as_ref());
                let held = before.or_else(|| part.objects.get(&name).cloned());
                if let Some(policy @ (PolicyInput::Policy(_) | PolicyInput::Provider(_))) =
                    held.and_then(|held| held.object)
                {
                    good.add(origin(), policy);
                }
            }
            part.version = kept.version;
        }
        good
    }
}

impl Held {
    fn keep(&self, in_force: &PolicyIndex) -> Result<KeptObject, serde_json::Error> {
        let readable = self.object.as_ref().map(written).transpose()?.flatten();
        let good = match &self.object {
            Some(PolicyInput::Policy(policy)) => {
                let good = in_force.last_good(&policy.name);
                let is_newest = good.is_some_and(|good| policy.body.as_ref().is_ok_and(|body| body == good));
                good.filter(|_| !is_newest).map(|good| serde_json::to_value(&**good)).transpose()?
            }
            Some(PolicyInput::Provider(provider)) => {
                let good = in_force.last_good_provider(&provider.name);
                let is_newest = good.is_some_and(|good| provider.body.as_ref().is_ok_and(|body| body == good));
                good.filter(|_| !is_newest).map(|good| serde_json::to_value(&**good)).transpose()?
            }
            _ if self.is_good && self.raw.is_some() => readable.clone(),
            _ => None,
        };
        let newest = self.raw.clone().or(readable).unwrap_or_default();
        Ok(KeptObject { version: self.version.clone(), newest, good })
    }
}

/// An object as it would be written, unless it is a policy that does not read.
fn written(object: &PolicyInput) -> Result<Option<Value>, serde_json::Error> {
    Ok(Some(match object {
        PolicyInput::Policy(policy) => match &policy.body {
            Ok(policy) => serde_json::to_value(&**policy)?,
            Err(_) => return Ok(None),
        },
        PolicyInput::HttpRoute(route) => serde_json::to_value(route)?,
        PolicyInput::GrpcRoute(route) => serde_json::to_value(route)?,
        PolicyInput::Gateway(gateway) => serde_json::to_value(gateway)?,
        PolicyInput::ReferenceGrant(grant) => serde_json::to_value(grant)?,
        PolicyInput::Namespace(namespace) => serde_json::to_value(&**namespace)?,
        PolicyInput::Provider(provider) => match &provider.body {
            Ok(provider) => serde_json::to_value(&**provider)?,
            Err(_) => return Ok(None),
        },
        PolicyInput::Secret(_) => return Ok(None),
    }))
}
