//! From objects to an index: a pure function, so that the same set always judges alike, whoever watches it.

use std::collections::HashMap;
use std::sync::Arc;

use super::attach::{Attachments, TargetKey};
use super::bind::Binder;
use super::form::{CompiledRule, Form};
use super::hosts;
use super::install::Install;
use super::objects::{Origin, PolicyObject, PolicyObjects, Sourced};
use super::problem::{Findings, IS_CLOSED, IS_NOWHERE, LAST_GOOD_STAYS};
use super::provider::{NamespaceProviders, Providers, RuleProvider};
use super::{PolicyIndex, PolicyName, PolicyProblem, ProblemKind};
use crate::api::auth_policy::Salvage;
use crate::api::meta::{ObjectMeta, is_another};
use crate::api::read::{listed, nearest};

impl PolicyIndex {
    /// Compiles a set of objects, whole, and says what is wrong with any of them.
    ///
    /// A policy that is not good keeps the form that it has in `previous`; without one, what it targets is closed. The
    /// other policies are not touched by it (P26). What did not change since `previous` is taken from it, which makes a compilation
    /// cheaper and nothing else.
    pub fn compile(objects: &PolicyObjects, install: &Install, previous: Option<&Self>) -> (Self, Vec<PolicyProblem>) {
        let mut problems = Vec::new();
        let mut policies: Vec<&Sourced<PolicyObject>> = objects.policies.iter().collect();
        policies.sort_by_cached_key(age);
        let mut providers = Providers::compile(objects, install, previous, &mut problems);
        let forms = forms(&policies, install, &providers, previous, &mut problems);
        let rules = forms.iter().flat_map(|it| it.form.rules.iter().map(|rule| (&it.form.name.namespace, rule)));
        providers.keep_named(rules.flat_map(|(namespace, rule)| rule.providers().map(move |it| (namespace, it))));
        let kept = previous.map(|index| &index.kept);
        let mut binder = Binder::after(kept.map(|kept| &kept.bounds));
        let attachments = Attachments::resolve(objects, install, &forms, kept, &mut binder, &mut problems);
        let hosts = hosts::by_hosts(&forms, &mut binder, &mut problems);
        let pod = hosts::by_pod(&forms, install.pod.as_ref(), &mut binder, &mut problems);
        let (good, closed): (Vec<&Formed>, Vec<&Formed>) = forms.iter().partition(|it| it.form.source.is_some());
        let by_name =
            |forms: Vec<&Formed>| forms.into_iter().map(|it| (it.form.name.clone(), it.form.clone())).collect();
        let index = Self {
            carriers: install.carriers.clone(),
            own_headers: install.own_headers.clone(),
            ready: true,
            hosts,
            pod,
            route_identity: install.route_identity,
            named: attachments.named,
            ports: attachments.ports,
            rules: forms.iter().map(|it| it.form.rules.len()).sum(),
            good: by_name(good),
            closed: by_name(closed),
            providers,
            kept: attachments.kept.with(binder.finish()),
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
pub(super) fn seniority(meta: &ObjectMeta) -> Seniority<'_> {
    (time(meta.creation_timestamp.as_deref()), &meta.namespace, &meta.name)
}

/// See [`seniority`].
pub(super) type Seniority<'a> = (Option<jiff::Timestamp>, &'a str, &'a str);

pub(super) fn time(text: Option<&str>) -> Option<jiff::Timestamp> {
    text?.parse().ok()
}

fn age<'a>(policy: &&'a Sourced<PolicyObject>) -> (Seniority<'a>, &'a Origin) {
    let PolicyObject { name, created, .. } = &policy.object;
    ((time(created.as_deref()), &name.namespace, &name.name), &policy.origin)
}

/// The form of each policy, the oldest first.
fn forms(
    policies: &[&Sourced<PolicyObject>],
    install: &Install,
    providers: &Providers,
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
        // What was deleted and made again has no last good form, however quickly.
        let good = good.filter(|good| !is_another(good.uid(), policy.object.uid.as_deref()));
        let own = providers.namespace(&name.namespace);
        let form = form(policy, install, own, good, problems);
        missing(origin, &form, own, problems);
        forms.push(Formed { origin: origin.clone(), form });
    }
    forms
}

fn form(
    policy: &Sourced<PolicyObject>,
    install: &Install,
    providers: NamespaceProviders<'_>,
    good: Option<&Arc<Form>>,
    problems: &mut Vec<PolicyProblem>,
) -> Arc<Form> {
    let Sourced { origin, object: PolicyObject { name, body, .. } } = policy;
    let (findings, salvage) = match body {
        // An unchanged policy needs no second compilation, unless its providers are others now.
        Ok(object) if good.is_some_and(|good| good.source.as_ref() == Some(object) && good.is_current(providers)) => {
            return good.expect("the guard has looked").clone();
        }
        Ok(object) => match Form::compile(name, object, install, providers) {
            Ok(form) => return Arc::new(form),
            Err(findings) => {
                let spec = &object.spec;
                let salvage = Salvage {
                    target_refs: spec.target_refs.clone(),
                    hosts: spec.hosts.clone(),
                    selector: spec.selector.clone(),
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
        None if body.is_err() && salvage == Salvage::default() => IS_NOWHERE,
        None => IS_CLOSED,
    };
    for (path, words) in findings.into_iter() {
        let words = format!("{words}{effect}");
        problems.push(PolicyProblem::of_policy(origin, name, path, ProblemKind::Invalid, words));
    }
    let last = good.and_then(|good| match &good.source {
        // What a provider accepted and accepts no more has no last good form.
        Some(source) if !good.is_current(providers) => {
            Form::compile(name, source, install, providers).ok().map(Arc::new)
        }
        _ => Some(good.clone()),
    });
    last.unwrap_or_else(|| Arc::new(Form::closed(name, &salvage, install)))
}

/// Says which providers of the policy's rules are not there.
fn missing(origin: &Origin, form: &Form, providers: NamespaceProviders<'_>, problems: &mut Vec<PolicyProblem>) {
    for provider in form.rules.iter().flat_map(CompiledRule::providers) {
        let RuleProvider::Missing { at, name, places } = provider else { continue };
        let namespace = &form.name.namespace;
        let hint = match nearest(name, providers.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match providers.names().collect::<Vec<_>>() {
                names if names.is_empty() => "there is none at all".to_owned(),
                mut names => {
                    names.sort_unstable();
                    names.truncate(8);
                    format!("there are {}", listed(&names))
                }
            },
        };
        let effect = match places {
            Some(_) => "what it would have to judge is answered with 503",
            None => {
                "every request that this rule judges is answered with 503, since nobody can say where requests carry its credentials"
            }
        };
        let words = format!(
            "no IdentityProvider `{name}` that is good in namespace `{namespace}`: {hint}. Until it is there, {effect}"
        );
        problems.push(PolicyProblem::of_policy(origin, &form.name, &**at, ProblemKind::ProviderNotFound, words));
    }
}

/// Says that `older` has the target already.
pub(super) fn conflict(loser: &Formed, path: String, target: &TargetKey, older: &PolicyName) -> PolicyProblem {
    let words = format!(
        "{target} has the older policy {older}, so this one does not count there: remove the target from one of them"
    );
    PolicyProblem::of_policy(&loser.origin, &loser.form.name, path, ProblemKind::Conflicted, words)
}
