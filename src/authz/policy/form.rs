//! One policy, checked and compiled, whatever its targets turn out to be.

use std::collections::HashSet;
use std::sync::Arc;

use super::grants::{self, Grants};
use super::install::Install;
use super::problem::Findings;
use super::provider::{NamespaceProviders, RuleProvider};
use super::redirect::Redirect;
use super::require::Requirements;
use super::rule;
use super::selector;
use super::targets::{self, MAX_HOSTS, MAX_TARGETS};
use super::{ForwardClaims, PolicyName, RuleName, RuleRef, SessionJwtRule};
use crate::api::auth_policy::{
    API_VERSION, AuthPolicy, DefaultAccess, Inheritance, LabelSelector, Mode, PathCase, Rule, Salvage, TargetRef,
};
use crate::api::http_match::HttpRouteMatch;
use crate::authz::attributes::LetterCase;
use crate::authz::credential::Carrier;
use crate::authz::matching::{HostPattern, MatchTable, RouteMatch};
use crate::authz::reason::DenyReason;
use crate::authz::session::Realm;

const MAX_RULES: usize = 256;
const MAX_MATCHES: usize = 8;

/// A policy that is in force.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) name: PolicyName,
    /// What it was compiled from; `None` for a closed one.
    pub(crate) source: Option<Arc<AuthPolicy>>,
    pub(super) target_refs: Vec<TargetRef>,
    pub(super) hosts: Vec<HostPattern>,
    /// The pods that it is for, of its own namespace; then `hosts` narrow it.
    pub(super) selector: Option<LabelSelector>,
    pub(crate) inheritance: Inheritance,
    pub(crate) mode: Mode,
    pub(crate) letter_case: LetterCase,
    pub(crate) realm: Realm,
    pub(crate) allowed_origins: Vec<String>,
    pub(super) table: MatchTable<Hit>,
    /// In the order written; the last one is what a request meets that none of the others matches.
    pub(super) rules: Vec<CompiledRule>,
}

/// A match of a policy. Two matches of one rule are equal: which of them a request meets makes no difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) rule: usize,
    /// Which of the rule's matches; `None` where it has none.
    pub(crate) written: Option<usize>,
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule
    }
}

/// A rule.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) name: RuleRef,
    pub(crate) access: Access,
    /// What the service behind it may do to sessions by its responses.
    pub(crate) grants: Option<Arc<Grants>>,
}

impl CompiledRule {
    /// The identity providers that it names.
    pub(super) fn providers(&self) -> impl Iterator<Item = &RuleProvider> {
        match &self.access {
            Access::Authenticate(auth) => auth.providers.iter(),
            Access::Public | Access::Deny(_) => [].iter(),
        }
    }
}

/// What a rule does with the requests it judges.
#[derive(Debug)]
pub(crate) enum Access {
    /// Let pass without looking at credentials.
    Public,
    /// Refuse, for this reason.
    Deny(DenyReason),
    /// Find out who it is.
    Authenticate(Box<AuthRule>),
}

/// How a rule finds out who it is, and what it asks of them.
#[derive(Debug)]
pub(crate) struct AuthRule {
    /// A token of ours counts: in these carriers, or in all.
    pub(crate) session: Option<Option<Arc<[Carrier]>>>,
    /// A session JWT counts.
    pub(crate) session_jwt: Option<SessionJwtRule>,
    /// A credential counts that one of these accepts; in the order written.
    pub(crate) providers: Vec<RuleProvider>,
    /// No credential at all will do.
    pub(crate) anonymous: bool,
    pub(crate) require: Requirements,
    /// `aud` as written; else the target's.
    pub(super) audience: Option<Arc<str>>,
    pub(super) claims: ForwardClaims,
    pub(crate) redirect: Option<Redirect>,
}

impl AuthRule {
    pub(super) fn nobody() -> Self {
        Self {
            session: None,
            session_jwt: None,
            providers: Vec::new(),
            anonymous: false,
            require: Requirements::default(),
            audience: None,
            claims: ForwardClaims::All,
            redirect: None,
        }
    }

    fn any_session() -> Self {
        Self { session: Some(None), ..Self::nobody() }
    }
}

impl Form {
    /// Compiles `policy`, or says everything that is wrong with it.
    pub(super) fn compile(
        name: &PolicyName,
        policy: &Arc<AuthPolicy>,
        install: &Install,
        providers: NamespaceProviders<'_>,
    ) -> Result<Self, Findings> {
        let mut findings = Findings::default();
        let spec = &policy.spec;
        if policy.api_version != API_VERSION {
            findings.add("apiVersion", format!("{:?} is unknown: write {API_VERSION}", policy.api_version));
        }
        if let Some((path, words)) = policy.metadata.problem() {
            findings.add(path, words);
        }
        match &spec.selector {
            Some(selector) => {
                selector::check(selector, &mut findings);
                if !spec.target_refs.is_empty() {
                    findings.add(
                        "spec.selector",
                        "selects pods and `targetRefs` name objects, so it is not clear which is meant: write two policies",
                    );
                }
            }
            None if spec.target_refs.is_empty() && spec.hosts.is_empty() => {
                findings.add("spec", "judges nothing: name what it is for in `hosts`, `targetRefs` or `selector`");
            }
            None => {}
        }
        targets::check_refs(&spec.target_refs, &mut findings);
        let hosts = targets::hosts(spec, &name.namespace, install, &mut findings);
        let realm = findings.catch("spec.realm", install.realm(spec.realm.as_deref(), &name.namespace));
        let allowed_origins = targets::origins(&spec.allowed_origins, &mut findings);
        let (table, rules) = rules(name, realm.as_ref(), spec.default, &spec.rules, install, providers, &mut findings);
        match realm {
            Some(realm) if findings.is_empty() => Ok(Self {
                name: name.clone(),
                source: Some(policy.clone()),
                target_refs: spec.target_refs.clone(),
                hosts,
                selector: spec.selector.clone(),
                inheritance: spec.inheritance,
                mode: spec.mode,
                letter_case: match spec.paths {
                    PathCase::Unambiguous => LetterCase::Unambiguous,
                    PathCase::CaseSensitive => LetterCase::Sensitive,
                },
                realm,
                allowed_origins,
                table,
                rules,
            }),
            _ => Err(findings),
        }
    }

    /// The form of a policy that never had a good one: it refuses everything that it was meant to judge (P26).
    pub(super) fn closed(name: &PolicyName, salvage: &Salvage, install: &Install) -> Self {
        let access = Access::Deny(DenyReason::BrokenPolicy);
        // Claiming a host is a right of its own, which a broken policy does not have either (P27).
        let may_claim = salvage.selector.is_some() || targets::hosts_allowed(&name.namespace, install);
        let mut hosts: Vec<HostPattern> = Vec::new();
        for host in salvage.hosts.iter().take(MAX_HOSTS).filter(|_| may_claim) {
            hosts.extend(HostPattern::parse(host).ok().filter(|pattern| !hosts.contains(pattern)));
        }
        let mut target_refs: Vec<TargetRef> = Vec::new();
        for target in salvage.target_refs.iter().take(MAX_TARGETS).filter(|target| targets::is_possible(target)) {
            target_refs.extend((!target_refs.contains(target)).then(|| target.clone()));
        }
        Self {
            name: name.clone(),
            source: None,
            target_refs,
            hosts,
            selector: salvage.selector.clone(),
            inheritance: salvage.inheritance,
            mode: Mode::Enforce,
            letter_case: LetterCase::Sensitive,
            realm: install.default_realm.clone(),
            allowed_origins: Vec::new(),
            table: MatchTable::build(Vec::<(RouteMatch, Hit)>::new()),
            rules: vec![CompiledRule { name: rule_ref(name, "broken"), access, grants: None }],
        }
    }

    /// Which object of its name it was compiled from, if that is known.
    pub(super) fn uid(&self) -> Option<&str> {
        self.source.as_ref()?.metadata.uid.as_deref()
    }

    /// Whether its rules name the providers that there are now.
    pub(super) fn is_current(&self, providers: NamespaceProviders<'_>) -> bool {
        self.rules.iter().flat_map(CompiledRule::providers).all(|provider| provider.is_current(providers))
    }

    /// The rule that judges what no other one matches.
    pub(super) fn fallback(&self) -> Hit {
        Hit { rule: self.rules.len() - 1, written: None }
    }
}

fn rules(
    policy: &PolicyName,
    realm: Option<&Realm>,
    default: DefaultAccess,
    written: &[Rule],
    install: &Install,
    providers: NamespaceProviders<'_>,
    findings: &mut Findings,
) -> (MatchTable<Hit>, Vec<CompiledRule>) {
    if written.len() > MAX_RULES {
        findings.add(
            "spec.rules",
            format!("{} rules, the most is {MAX_RULES}: divide them among several policies", written.len()),
        );
    }
    let mut names = HashSet::new();
    let mut matches = Vec::new();
    let mut rules = Vec::with_capacity(written.len() + 1);
    for (i, rule) in written.iter().take(MAX_RULES).enumerate() {
        let at = format!("spec.rules[{i}]");
        let name = match &rule.name {
            Some(name) => {
                check_name(name, &at, findings);
                if !names.insert(name.as_str()) {
                    findings.add(
                        format!("{at}.name"),
                        format!("another rule is called `{name}` too: records could not tell them apart"),
                    );
                }
                name.clone()
            }
            None => format!("rules[{i}]"),
        };
        compile_matches(i, rule, &at, &mut matches, findings);
        let name = rule_ref(policy, &name);
        let access = rule::access(rule, &at, install, providers, findings);
        let grants = grants::compile(&name, realm, rule, &at, install, findings).map(Arc::new);
        rules.push(CompiledRule { name, access, grants });
    }
    rules.push(CompiledRule {
        name: rule_ref(policy, "default"),
        access: match default {
            DefaultAccess::Session => Access::Authenticate(Box::new(AuthRule::any_session())),
            DefaultAccess::Deny => Access::Deny(DenyReason::DeniedByDefault),
        },
        grants: None,
    });
    (MatchTable::build(matches), rules)
}

fn compile_matches(index: usize, rule: &Rule, at: &str, matches: &mut Vec<(RouteMatch, Hit)>, findings: &mut Findings) {
    if rule.matches.len() > MAX_MATCHES {
        findings.add(format!("{at}.matches"), format!("{} matches, the most is {MAX_MATCHES}", rule.matches.len()));
    }
    if rule.matches.is_empty() {
        let everything = RouteMatch::compile(&HttpRouteMatch::default());
        let hit = Hit { rule: index, written: None };
        matches.extend(findings.catch(at, everything).map(|it| (it, hit)));
    }
    for (j, written) in rule.matches.iter().take(MAX_MATCHES).enumerate() {
        match RouteMatch::compile(written) {
            Ok(compiled) => matches.push((compiled, Hit { rule: index, written: Some(j) })),
            Err(error) => findings.add(format!("{at}.matches[{j}].{}", error.field), error.problem.to_string()),
        }
    }
}

fn check_name(name: &str, at: &str, findings: &mut Findings) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !(1..=63).contains(&name.len()) || !name.bytes().all(plain) {
        findings.add(
            format!("{at}.name"),
            format!("{name:?} is not a rule's name: 1 to 63 letters, digits, `-`, `_` and `.`"),
        );
    } else if matches!(name, "default" | "broken") {
        findings.add(
            format!("{at}.name"),
            format!("`{name}` is what records call the rule that judges the rest: choose another"),
        );
    }
}

fn rule_ref(policy: &PolicyName, rule: &str) -> RuleRef {
    Arc::new(RuleName { policy: policy.clone(), rule: rule.into() })
}
