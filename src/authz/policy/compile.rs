//! From objects to an index: a pure function, so that the same set always judges alike, whoever watches it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attach::{Attachments, TargetKey};
use super::form::{Access, Form};
use super::install::Install;
use super::objects::{Origin, PolicyObject, PolicyObjects, Sourced};
use super::problem::{Findings, IS_CLOSED, LAST_GOOD_STAYS};
use super::scope::{Bound, Chain, Target};
use super::{MintSpec, PolicyIndex, PolicyName, PolicyProblem, ProblemKind};
use crate::api::auth_policy::{Inheritance, Salvage};
use crate::api::meta::ObjectMeta;
use crate::authz::matching::{HostPattern, HostTable};

impl PolicyIndex {
    /// Compiles a set of objects, whole, and says what is wrong with any of them.
    ///
    /// A policy that is not good keeps the form that it has in `previous`; without one, what it targets is closed. The
    /// other policies are not touched by it (P26).
    pub fn compile(objects: &PolicyObjects, install: &Install, previous: Option<&Self>) -> (Self, Vec<PolicyProblem>) {
        let mut problems = Vec::new();
        let mut policies: Vec<&Sourced<PolicyObject>> = objects.policies.iter().collect();
        policies.sort_by_cached_key(|policy| age(policy));
        let forms = forms(&policies, install, previous, &mut problems);
        let mut binder = Binder::default();
        let attachments = Attachments::resolve(objects, install, &forms, &mut binder, &mut problems);
        let hosts = hosts(&forms, &mut binder, &mut problems);
        let (good, closed): (Vec<&Formed>, Vec<&Formed>) = forms.iter().partition(|it| it.form.source.is_some());
        let by_name =
            |forms: Vec<&Formed>| forms.into_iter().map(|it| (it.form.name.clone(), it.form.clone())).collect();
        let index = Self {
            carriers: install.carriers.clone(),
            own_headers: install.own_headers.clone(),
            ready: true,
            hosts,
            ports: attachments.ports,
            rules: forms.iter().map(|it| it.form.rules.len()).sum(),
            good: by_name(good),
            closed: by_name(closed),
        };
        problems.sort_by(|a, b| (&a.origin, &a.object, &a.path).cmp(&(&b.origin, &b.object, &b.path)));
        (index, problems)
    }
}

/// A policy's form and where its object was written.
pub(super) struct Formed {
    pub(super) origin: Origin,
    pub(super) form: Arc<Form>,
}

/// Conflicts are won by the oldest; objects without a time come first; then namespace and name decide (GEP-713).
pub(super) fn seniority(meta: &ObjectMeta) -> Seniority {
    (time(meta.creation_timestamp.as_deref()), meta.namespace.clone(), meta.name.clone())
}

/// See [`seniority`].
pub(super) type Seniority = (Option<jiff::Timestamp>, String, String);

fn time(text: Option<&str>) -> Option<jiff::Timestamp> {
    text?.parse().ok()
}

fn age(policy: &Sourced<PolicyObject>) -> (Seniority, Origin) {
    let PolicyObject { name, created, .. } = &policy.object;
    ((time(created.as_deref()), name.namespace.to_string(), name.name.to_string()), policy.origin.clone())
}

/// The form of each policy, the oldest first.
fn forms(
    policies: &[&Sourced<PolicyObject>],
    install: &Install,
    previous: Option<&PolicyIndex>,
    problems: &mut Vec<PolicyProblem>,
) -> Vec<Formed> {
    let mut seen = HashMap::new();
    let mut forms = Vec::with_capacity(policies.len());
    for policy in policies {
        let Sourced { origin, object: PolicyObject { name, .. } } = policy;
        if let Some(first) = seen.insert(name.clone(), origin.clone()) {
            let words =
                format!("{first} has a policy of this name already; this one counts for nothing: rename one of them");
            problems.push(PolicyProblem::of_policy(origin, name, "metadata.name", ProblemKind::Conflicted, words));
            seen.insert(name.clone(), first);
            continue;
        }
        let good = previous.and_then(|index| index.good.get(name));
        let form = form(policy, install, good, problems);
        forms.push(Formed { origin: origin.clone(), form });
    }
    forms
}

fn form(
    policy: &Sourced<PolicyObject>,
    install: &Install,
    good: Option<&Arc<Form>>,
    problems: &mut Vec<PolicyProblem>,
) -> Arc<Form> {
    let Sourced { origin, object: PolicyObject { name, body, .. } } = policy;
    let (findings, salvage) = match body {
        // An unchanged policy needs no second compilation.
        Ok(object) if good.is_some_and(|good| good.source.as_ref() == Some(object)) => {
            return good.expect("the guard has looked").clone();
        }
        Ok(object) => match Form::compile(name, object, install) {
            Ok(form) => return Arc::new(form),
            Err(findings) => {
                let spec = &object.spec;
                let salvage = Salvage {
                    target_refs: spec.target_refs.clone(),
                    hosts: spec.hosts.clone(),
                    inheritance: spec.inheritance,
                };
                (findings, salvage)
            }
        },
        Err(unreadable) => {
            let mut findings = Findings::default();
            findings.add(unreadable.error.path.clone(), unreadable.error.problem.clone());
            (findings, unreadable.salvage.clone())
        }
    };
    let effect = match good {
        Some(_) => LAST_GOOD_STAYS,
        None => IS_CLOSED,
    };
    for (path, words) in findings.into_iter() {
        let words = format!("{words}{effect}");
        problems.push(PolicyProblem::of_policy(origin, name, path, ProblemKind::Invalid, words));
    }
    good.cloned().unwrap_or_else(|| Arc::new(Form::closed(name, &salvage, install)))
}

/// Puts policies and targets together; equal results are shared.
#[derive(Default)]
pub(super) struct Binder {
    /// By form, not by name: a closed route has a form too. Each `Bound` keeps its form alive, so no address comes back.
    bound: HashMap<(*const Form, Target, Arc<str>), Arc<Bound>>,
    specs: HashSet<Arc<MintSpec>>,
}

impl Binder {
    /// `form` at `target`. What its sessions' JWTs say: the key of `namespace`, and `audience` where the rule names none.
    pub(super) fn bind(
        &mut self,
        form: &Arc<Form>,
        target: Target,
        namespace: &Arc<str>,
        audience: &str,
    ) -> Arc<Bound> {
        let key = (Arc::as_ptr(form), target, namespace.clone());
        if let Some(bound) = self.bound.get(&key) {
            return bound.clone();
        }
        let default: Arc<str> = audience.into();
        let mints = form.rules.iter().map(|rule| match &rule.access {
            Access::Authenticate(auth) => {
                let audience = auth.audience.clone().unwrap_or_else(|| default.clone());
                let spec = MintSpec { namespace: namespace.clone(), audience, claims: auth.claims.clone() };
                Some(self.intern(spec))
            }
            Access::Public | Access::Deny(_) => None,
        });
        let mints = mints.collect();
        let bound = Arc::new(Bound { form: form.clone(), target: key.1.clone(), namespace: namespace.clone(), mints });
        self.bound.insert(key, bound.clone());
        bound
    }

    fn intern(&mut self, spec: MintSpec) -> Arc<MintSpec> {
        if let Some(known) = self.specs.get(&spec) {
            return known.clone();
        }
        let spec = Arc::new(spec);
        self.specs.insert(spec.clone());
        spec
    }
}

/// Says that `older` has the target already.
pub(super) fn conflict(loser: &Formed, path: String, target: &TargetKey, older: &PolicyName) -> PolicyProblem {
    let words = format!(
        "{target} has the older policy {older}, so this one does not count there: remove the target from one of them"
    );
    PolicyProblem::of_policy(&loser.origin, &loser.form.name, path, ProblemKind::Conflicted, words)
}

/// The policies that name hosts, each below those of wider patterns.
fn hosts(forms: &[Formed], binder: &mut Binder, problems: &mut Vec<PolicyProblem>) -> HostTable<Arc<Chain>> {
    let mut winners: HashMap<&HostPattern, &Formed> = HashMap::new();
    for formed in forms {
        for (i, host) in formed.form.hosts.iter().enumerate() {
            match winners.get(host) {
                None => {
                    winners.insert(host, formed);
                }
                Some(older) => {
                    let target = TargetKey::Host(host.clone());
                    problems.push(conflict(formed, format!("spec.hosts[{i}]"), &target, &older.form.name));
                }
            }
        }
    }
    let mut chain = |host: &HostPattern| {
        let mut levels: Vec<Arc<Bound>> = Vec::new();
        for wider in wider(host) {
            let Some(formed) = winners.get(&wider) else { continue };
            if wider != *host && formed.form.inheritance == Inheritance::Default {
                continue;
            }
            let name = &formed.form.name;
            let bound = binder.bind(&formed.form, Target::Hosts, &name.namespace, &name.to_string());
            if !levels.iter().any(|known| Arc::ptr_eq(known, &bound)) {
                levels.push(bound);
            }
        }
        Arc::new(Chain::of(&levels))
    };
    let entries: Vec<_> = winners.keys().map(|host| ((*host).clone(), chain(host))).collect();
    HostTable::build(entries)
}

/// The patterns that every host of `host` is in, the widest first, itself last.
fn wider(host: &HostPattern) -> Vec<HostPattern> {
    let (name, own) = match host {
        HostPattern::Any => return vec![HostPattern::Any],
        HostPattern::Exact(name) => (name, None),
        HostPattern::Below(suffix) => (suffix, Some(suffix)),
    };
    let suffixes = name.match_indices('.').map(|(dot, _)| name[dot + 1..].to_owned());
    let mut patterns: Vec<HostPattern> = suffixes.map(HostPattern::Below).collect();
    patterns.reverse();
    patterns.insert(0, HostPattern::Any);
    patterns.push(match own {
        Some(suffix) => HostPattern::Below(suffix.clone()),
        None => HostPattern::Exact(name.clone()),
    });
    patterns
}
