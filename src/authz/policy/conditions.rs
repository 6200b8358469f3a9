//! What the `status` of each policy says (GEP-713): told from the compiled set and what is wrong with it.
//!
//! Pure, like the compilation: who tells it and where it is written is not known here. An entry is a fact about one target:
//!
//! - `Accepted`: the policy as it is written now counts there;
//! - `ResolvedRefs`: what it names is there and may be named;
//! - `Programmed`: some generation of it, `observedGeneration`, judges requests there.

mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use self::words::joined;
use super::bind::Target;
use super::form::Form;
use super::standing::Standings;
use super::{PolicyIndex, PolicyName, PolicyObject, PolicyObjects, PolicyProblem, ProblemKind};
use crate::api::auth_policy::{API_VERSION, TargetRef};
use crate::api::gateway::GROUP;
use crate::api::status::{AncestorRef, AncestorStatus, CONTROLLER_NAME, Condition, ConditionStatus, MAX_ANCESTORS};

/// The type of the condition that says whether an object counts.
pub const ACCEPTED: &str = "Accepted";
/// The type of the condition that says whether what an object names is there.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// The type of the condition that says which generation is in force.
pub const PROGRAMMED: &str = "Programmed";

/// What a compilation has to tell of its objects.
#[derive(Debug)]
pub struct Told<'a> {
    index: &'a PolicyIndex,
    standings: Standings<'a>,
    /// By Gateway, `Gateway shop/edge`: the routes that name it as their parent.
    children: HashMap<String, Vec<String>>,
    problems: HashMap<&'a str, Vec<&'a PolicyProblem>>,
    /// What is wrong with the Gateways that a route names as its parents, by route.
    parents: HashMap<String, Vec<&'a PolicyProblem>>,
}

/// More policies are not named in a message.
const MAX_NAMED: usize = 4;

/// One condition without its time.
struct Fact {
    kind: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
    observed: Option<i64>,
}

/// One of the things that a policy is for.
struct Hold {
    ancestor: AncestorRef,
    target: Target,
}

impl<'a> Told<'a> {
    /// What `index`, which was compiled from `objects`, and the problems found with it have to tell.
    pub fn new(objects: &PolicyObjects, index: &'a PolicyIndex, problems: &'a [PolicyProblem]) -> Self {
        let mut by_object: HashMap<&str, Vec<&PolicyProblem>> = HashMap::new();
        for problem in problems {
            by_object.entry(problem.object.as_str()).or_default().push(problem);
        }
        let children = children(objects);
        let mut parents: HashMap<String, Vec<&PolicyProblem>> = HashMap::new();
        for (gateway, routes) in &children {
            let Some(troubles) = by_object.get(gateway.as_str()) else { continue };
            for route in routes {
                parents.entry(route.clone()).or_default().extend(troubles);
            }
        }
        for troubles in parents.values_mut() {
            troubles.sort_by_key(|it| (&it.object, &it.path));
            troubles.dedup();
        }
        Self { index, standings: Standings::of(index), children, problems: by_object, parents }
    }

    /// Our entries of the status of `policy`, whose `metadata.generation` is given: at most [`MAX_ANCESTORS`], one for the
    /// policy itself where it names no object, then one for each target. `before` are our entries as they are now: times of
    /// conditions that have not changed are kept, and so is what they know of a generation that was in force before we came.
    /// `now` is in RFC 3339.
    pub fn policy(
        &self,
        policy: &PolicyObject,
        generation: Option<i64>,
        before: &[AncestorStatus],
        now: &str,
    ) -> Vec<AncestorStatus> {
        let form = self.index.good.get(&policy.name).or_else(|| self.index.closed.get(&policy.name));
        let form = form.map(|form| &**form);
        let object = format!("AuthPolicy {}", policy.name);
        let problems = self.problems.get(object.as_str()).map_or(&[][..], Vec::as_slice);
        let holds = holds(policy, form);
        let telling = Telling { told: self, form, problems, generation, entries: holds.len() };
        let entry = |hold: Hold| {
            let earlier = before.iter().find(|it| it.ancestor_ref == hold.ancestor);
            let earlier = earlier.map_or(&[][..], |it| it.conditions.as_slice());
            let facts = telling.facts(&hold, earlier);
            let conditions = facts.into_iter().map(|fact| condition(fact, earlier, now)).collect();
            AncestorStatus { ancestor_ref: hold.ancestor, controller_name: CONTROLLER_NAME.to_owned(), conditions }
        };
        holds.into_iter().map(entry).collect()
    }

    /// What is wrong with the Gateway that `target` is, or with those that it names as its parents.
    fn gateways_of(&self, target: &Target) -> &[&'a PolicyProblem] {
        let Target::Object(name) = target else { return &[] };
        let found = if name.starts_with("Gateway ") { self.problems.get(&**name) } else { self.parents.get(&**name) };
        found.map_or(&[], Vec::as_slice)
    }

    /// Who judges what comes to `target`, if anything does: to a route itself, or to the routes of a Gateway.
    fn judges_at(&self, target: &Target) -> Option<BTreeSet<&'a PolicyName>> {
        let Target::Object(name) = target else { return None };
        let routes = self.children.get(&**name).map_or(&[][..], Vec::as_slice);
        let judges = std::iter::once(&**name)
            .chain(routes.iter().map(String::as_str))
            .filter_map(|route| self.standings.judges_of(route));
        let judges: Vec<_> = judges.collect();
        (!judges.is_empty()).then(|| judges.into_iter().flatten().copied().collect())
    }
}

/// The routes of each Gateway.
fn children(objects: &PolicyObjects) -> HashMap<String, Vec<String>> {
    let http = objects.http_routes.iter().map(|it| ("HTTPRoute", &it.object.metadata, &it.object.spec.parent_refs));
    let grpc = objects.grpc_routes.iter().map(|it| ("GRPCRoute", &it.object.metadata, &it.object.spec.parent_refs));
    let mut children: HashMap<String, Vec<String>> = HashMap::new();
    for (kind, meta, parents) in http.chain(grpc) {
        for parent in parents.iter().filter(|parent| parent.group == GROUP && parent.kind == "Gateway") {
            let namespace = parent.namespace.as_ref().unwrap_or(&meta.namespace);
            let routes = children.entry(format!("Gateway {namespace}/{}", parent.name)).or_default();
            routes.push(format!("{kind} {}/{}", meta.namespace, meta.name));
        }
    }
    children
}

/// The condition, with the time of the earlier one if it says the same.
fn condition(fact: Fact, earlier: &[Condition], now: &str) -> Condition {
    let since = earlier.iter().find(|it| it.kind == fact.kind && it.status == fact.status);
    Condition {
        kind: fact.kind.to_owned(),
        status: fact.status,
        observed_generation: fact.observed,
        last_transition_time: since.map_or_else(|| now.to_owned(), |it| it.last_transition_time.clone()),
        reason: fact.reason.to_owned(),
        message: fact.message,
    }
}

/// What the policy is for, as it is written now and as it is in force.
fn holds(policy: &PolicyObject, in_force: Option<&Form>) -> Vec<Hold> {
    let namespace = &*policy.name.namespace;
    let (written, mut itself) = match &policy.body {
        Ok(object) => (&object.spec.target_refs, !object.spec.hosts.is_empty() || object.spec.selector.is_some()),
        Err(unreadable) => (&unreadable.salvage.target_refs, !unreadable.salvage.hosts.is_empty()),
    };
    itself |= in_force.is_some_and(|form| !form.hosts.is_empty());
    let mut holds: Vec<Hold> = Vec::new();
    for target in written.iter().chain(in_force.map_or(&[][..], |form| form.target_refs.as_slice())) {
        let ancestor = ancestor(target, namespace);
        if is_nameable(&ancestor) && !holds.iter().any(|hold| hold.ancestor == ancestor) {
            let of = ancestor.namespace.as_deref().unwrap_or(namespace);
            let target = Target::Object(format!("{} {of}/{}", ancestor.kind, ancestor.name).into());
            holds.push(Hold { ancestor, target });
        }
    }
    if itself || holds.is_empty() {
        let (group, _) = API_VERSION.split_once('/').unwrap_or((API_VERSION, ""));
        let ancestor = AncestorRef {
            group: group.to_owned(),
            kind: "AuthPolicy".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: policy.name.name.to_string(),
            section_name: None,
            port: None,
        };
        holds.insert(0, Hold { ancestor, target: Target::Hosts });
    }
    holds.truncate(MAX_ANCESTORS);
    holds
}

fn ancestor(target: &TargetRef, namespace: &str) -> AncestorRef {
    AncestorRef {
        group: target.group.clone(),
        kind: target.kind.clone(),
        namespace: Some(target.namespace.as_deref().unwrap_or(namespace).to_owned()),
        name: target.name.clone(),
        section_name: target.section_name.clone(),
        port: None,
    }
}

/// Whether the schema of a status takes the name: a policy that is no policy can have any.
fn is_nameable(it: &AncestorRef) -> bool {
    let fits = |text: &str, most: usize| (1..=most).contains(&text.len());
    it.group.len() <= 253
        && fits(&it.kind, 63)
        && fits(&it.name, 253)
        && it.namespace.as_ref().is_none_or(|text| fits(text, 63))
        && it.section_name.as_ref().is_none_or(|text| fits(text, 253))
}

/// One policy, as it is told of.
struct Telling<'a> {
    told: &'a Told<'a>,
    /// What is in force; closed, if it never had a good form.
    form: Option<&'a Form>,
    problems: &'a [&'a PolicyProblem],
    generation: Option<i64>,
    /// How many entries share the space for messages.
    entries: usize,
}

impl Telling<'_> {
    fn facts(&self, hold: &Hold, earlier: &[Condition]) -> [Fact; 3] {
        // What keeps the policy as a whole from counting, and what is wrong with this target alone.
        let whole: Vec<&PolicyProblem> = self.of_whole().collect();
        let here: Vec<&PolicyProblem> = self.of_target(hold).collect();
        let accepted = match (whole.as_slice(), here.as_slice()) {
            ([first, ..], _) => self.fact(ACCEPTED, ConditionStatus::False, first.kind.label(), self.say(&whole)),
            ([], [first, ..]) => self.fact(ACCEPTED, ConditionStatus::False, first.kind.label(), self.say(&here)),
            ([], []) => self.fact(ACCEPTED, ConditionStatus::True, ACCEPTED, "the policy counts here".to_owned()),
        };
        let elsewhere = self.problems.iter().copied().filter(|problem| problem.target().is_none());
        let dangling: Vec<&PolicyProblem> =
            here.iter().copied().chain(elsewhere).filter(|problem| problem.kind.is_about_a_reference()).collect();
        let resolved = match dangling.first() {
            Some(first) => self.fact(RESOLVED_REFS, ConditionStatus::False, first.kind.label(), self.say(&dangling)),
            None if !whole.is_empty() => self.fact(
                RESOLVED_REFS,
                ConditionStatus::Unknown,
                "Invalid",
                "the policy is not one whose references could be looked for".to_owned(),
            ),
            None => self.fact(
                RESOLVED_REFS,
                ConditionStatus::True,
                RESOLVED_REFS,
                "what the policy names is there, and may be named".to_owned(),
            ),
        };
        let programmed = self.programmed(hold, !whole.is_empty(), &here, earlier);
        [accepted, resolved, programmed]
    }

    /// What makes the object, as it is written now, one that cannot be in force.
    fn of_whole(&self) -> impl Iterator<Item = &PolicyProblem> {
        self.problems.iter().copied().filter(|problem| {
            problem.kind == ProblemKind::Invalid || (problem.kind.is_error() && problem.path == "metadata.name")
        })
    }

    /// What keeps the form that is in force from counting at this target.
    fn of_target(&self, hold: &Hold) -> impl Iterator<Item = &PolicyProblem> {
        let form = self.form;
        self.problems.iter().copied().filter(move |problem| {
            let of_another_kind = problem.kind.is_error() && problem.kind != ProblemKind::Invalid;
            of_another_kind
                && match problem.target() {
                    Some(index) => form.is_some_and(|form| {
                        let target = form.target_refs.get(index);
                        target.is_some_and(|target| ancestor(target, &form.name.namespace) == hold.ancestor)
                    }),
                    None => problem.path.starts_with("spec.hosts") && hold.target == Target::Hosts,
                }
        })
    }

    fn programmed(&self, hold: &Hold, is_bad: bool, here: &[&PolicyProblem], earlier: &[Condition]) -> Fact {
        let not = |reason, message: String| self.fact(PROGRAMMED, ConditionStatus::False, reason, message);
        let Some(form) = self.form else {
            return not("Conflicted", "another object of this name is in force instead".to_owned());
        };
        let in_force = form.source.as_ref().and_then(|source| source.metadata.generation);
        let has_it = match hold.target {
            Target::Hosts | Target::Pod => !form.hosts.is_empty(),
            Target::Object(_) => {
                form.target_refs.iter().any(|target| ancestor(target, &form.name.namespace) == hold.ancestor)
            }
        };
        if form.source.is_none() {
            return match known_before(earlier, self.generation) {
                Some(generation) => self.kept(Some(generation)),
                None => not(
                    "Invalid",
                    "no generation of the policy was good yet: until one is, every request that it is for is refused"
                        .to_owned(),
                ),
            };
        }
        let selects = form.source.as_ref().is_some_and(|source| source.spec.selector.is_some());
        if hold.target == Target::Hosts && selects {
            let message = "the gates of the pods that it selects compile it, and nobody tells which pods those are";
            return self.fact(PROGRAMMED, ConditionStatus::Unknown, "Selected", message.to_owned());
        }
        if !has_it {
            let generation = shown(in_force);
            return not("Invalid", format!("the {generation} is in force, and it is not for this target"));
        }
        // Of many hosts some may be another policy's, which leaves the others.
        if let Some(first) = here.first()
            && hold.target != Target::Hosts
        {
            return not(first.kind.label(), self.say(here));
        }
        if self.told.standings.does_judge(form, &hold.target) {
            if is_bad {
                return self.kept(in_force);
            }
            let message = self.with_advice("requests are judged by it".to_owned());
            return self.fact(PROGRAMMED, ConditionStatus::True, PROGRAMMED, message);
        }
        if let Some(first) = here.first() {
            return not(first.kind.label(), self.say(here));
        }
        match self.told.judges_at(&hold.target) {
            Some(judges) => {
                let names = judges.iter().take(MAX_NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
                not(
                    "Overridden",
                    format!(
                        "every request here is judged by a policy on a more specific target instead ({names}): remove that \
                         one, or write `inheritance: Required` here to have both checked"
                    ),
                )
            }
            None => {
                let message =
                    "no request comes to it here: no served Gateway has a listener that admits a route of this target";
                let message = match self.told.gateways_of(&hold.target).first() {
                    None => message.to_owned(),
                    Some(first) => format!("{message}; {}: {}", first.object, self.say(&[first])),
                };
                not("NotAttached", self.with_advice(message))
            }
        }
    }

    /// That an earlier generation stays. The same words whether we saw it ourselves or were told by the status, so that our
    /// restart changes nothing.
    fn kept(&self, generation: Option<i64>) -> Fact {
        let message = format!(
            "the {} stays in force: it was the last good one. A gate that starts without a snapshot of it refuses every request \
             that the policy is for",
            shown(generation)
        );
        let fact = self.fact(PROGRAMMED, ConditionStatus::True, PROGRAMMED, message);
        Fact { observed: generation, ..fact }
    }

    fn with_advice(&self, message: String) -> String {
        let advice: Vec<&PolicyProblem> =
            self.problems.iter().copied().filter(|problem| problem.kind == ProblemKind::Advice).collect();
        if advice.is_empty() { message } else { format!("{message}; {}", self.say(&advice)) }
    }

    fn say(&self, problems: &[&PolicyProblem]) -> String {
        joined(problems, self.entries)
    }

    fn fact(&self, kind: &'static str, status: ConditionStatus, reason: &'static str, message: String) -> Fact {
        Fact { kind, status, reason, message, observed: self.generation }
    }
}

/// The generation that was in force when the present one was found bad, by our own word.
fn known_before(earlier: &[Condition], generation: Option<i64>) -> Option<i64> {
    let programmed = earlier.iter().find(|it| it.kind == PROGRAMMED && it.status == ConditionStatus::True)?;
    let observed = programmed.observed_generation?;
    (observed <= generation?).then_some(observed)
}

fn shown(generation: Option<i64>) -> String {
    generation.map_or_else(|| "generation before this one".to_owned(), |it| format!("generation {it}"))
}
