//! Two tenants under one Gateway: neither changes what the other's requests meet, but where the other consented (P27).

use proptest::prelude::*;

use super::super::{HostsFrom, Install, OwnPod, PolicyIndex, PolicyObjects};
use super::fixture::*;
use super::routes::*;

const TENANTS: [&str; 2] = ["ant", "bee"];

/// Objects of the cluster's owner and of two tenants, in YAML.
#[derive(Clone, Debug)]
pub(super) struct World {
    objects: Vec<(Owner, String)>,
    /// By tenant: what it has agreed to.
    agreed: [Vec<Agrees>; 2],
}

/// What an object agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agrees {
    /// Nothing.
    No,
    /// The other's policies on its own objects.
    ToPolicies,
    /// The other's routes to its Services.
    ToRoutes,
    /// A route of its own leads to the other's Service.
    ByLeadingThere,
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Cluster,
    Tenant(usize),
}

impl World {
    /// Whether the other tenant may have a say in what a tenant's requests meet.
    fn has_consented(&self, tenant: usize) -> bool {
        let [own, other] = [&self.agreed[tenant], &self.agreed[1 - tenant]];
        own.contains(&Agrees::ToPolicies)
            || (own.contains(&Agrees::ByLeadingThere) && other.contains(&Agrees::ToRoutes))
    }

    pub(super) fn objects(&self, of: impl Fn(Owner) -> bool) -> PolicyObjects {
        let text: Vec<_> = self.objects.iter().filter(|(owner, _)| of(*owner)).map(|(_, text)| text.clone()).collect();
        if text.is_empty() { PolicyObjects::default() } else { objects(&all(&text)) }
    }
}

/// Requests to each host of either tenant, with and without a session.
pub(super) fn asks() -> Vec<Ask> {
    let hosts = TENANTS.iter().flat_map(|tenant| [format!("{tenant}.example"), format!("shop.{tenant}.example")]);
    let lines = hosts.flat_map(|host| ["/", "/a", "/a/b"].map(|path| format!("GET {host}{path}")));
    lines.flat_map(|line| [ask(&line), ask(&line).cookie()]).collect()
}

/// A Gateway for which every tenant has a listener of its own, which admits hosts below its name alone, and a policy of the
/// owner's on it, or none.
fn cluster() -> impl Strategy<Value = Vec<String>> {
    let listener = |tenant: &str| {
        ["", "*."].map(|wide| {
            format!(
                "{{ name: {}{tenant}, port: 443, protocol: HTTPS, hostname: '{wide}{tenant}.example', allowedRoutes: {{ namespaces: {{ from: All }} }} }}",
                if wide.is_empty() { "" } else { "below-" }
            )
        })
    };
    let listeners: Vec<_> = TENANTS.iter().flat_map(|tenant| listener(tenant)).collect();
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: front, namespace: infra }}\nspec:\n  \
         listeners: [{}]",
        listeners.join(", ")
    );
    prop::option::of(spec()).prop_map(move |policy| {
        let policy = policy.map(|spec| named("infra/gateway", &format!("{}\n{spec}", on("Gateway", "front"))));
        std::iter::once(gateway.clone()).chain(policy).collect()
    })
}

/// What a policy may say besides what it is for.
fn spec() -> impl Strategy<Value = String> {
    let rules = prop::sample::select(vec![
        "",
        "default: Deny",
        "rules: [{ name: open, access: Public }]",
        "rules: [{ name: a, matches: [{ path: { value: /a } }], access: Public }]",
        "rules: [{ name: role, require: { roles: [admin] } }]",
    ]);
    (rules, any::<bool>()).prop_map(|(rules, required)| {
        format!("inheritance: {}\n{rules}", if required { "Required" } else { "Default" })
    })
}

/// What a tenant may write. It names the other's objects as well as its own, wherever a name can stand.
fn tenant(own: usize) -> impl Strategy<Value = Vec<(String, Agrees)>> {
    let namespace = TENANTS[own];
    let whose = prop::sample::select(TENANTS.to_vec());
    let name = prop::sample::select(vec!["one", "two"]);
    let created = prop::sample::select(vec!["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]);
    let dated = move |object: String, created: &str| {
        object.replacen("metadata: { ", &format!("metadata: {{ creationTimestamp: '{created}', "), 1)
    };
    let route = (name.clone(), whose.clone(), prop::sample::select(vec!["", "shop."]), prop::sample::select(vec!["/", "/a"]), whose.clone(), created.clone())
        .prop_map(move |(name, host, below, path, backend, created)| {
            let text = route_on(
                "{ name: front, namespace: infra }",
                &format!("{namespace}/{name}"),
                &format!(
                    "hostnames: ['{below}{host}.example']\nrules: [{{ name: main, matches: [{{ path: {{ value: {path} }} }}], backendRefs: [{{ name: one, namespace: {backend} }}] }}]"
                ),
            );
            // A route under the other's host is what the Gateway's owner let it have: none of this is about that.
            let agrees = if backend == namespace { Agrees::No } else { Agrees::ByLeadingThere };
            (dated(text, created), host == namespace, agrees)
        });
    let kind = prop::sample::select(vec!["HTTPRoute", "Service", "Gateway"]);
    let policy = (1..6_usize, kind, whose.clone(), name, spec(), created).prop_map(
        move |(number, kind, of, name, spec, created)| {
            let group = if kind == "Service" { "''" } else { "gateway.networking.k8s.io" };
            let (of, name) = if kind == "Gateway" { ("infra", "front") } else { (of, name) };
            let target =
                format!("targetRefs: [{{ group: {group}, kind: {kind}, name: {name}, namespace: {of} }}]\n{spec}");
            (dated(named(&format!("{namespace}/p{number}"), &target), created), true, Agrees::No)
        },
    );
    let claim = (6..9_usize, whose.clone(), any::<bool>(), spec()).prop_map(move |(number, host, selects, spec)| {
        let selector = if selects { "selector: {}\n" } else { "" };
        (
            named(&format!("{namespace}/p{number}"), &format!("{selector}hosts: [{host}.example, '*']\n{spec}")),
            true,
            Agrees::No,
        )
    });
    let other = TENANTS[1 - own];
    let consent =
        prop::sample::select(vec![("AuthPolicy", "HTTPRoute"), ("AuthPolicy", "Service"), ("HTTPRoute", "Service")])
            .prop_map(move |(from, to)| {
                let agrees = if from == "AuthPolicy" { Agrees::ToPolicies } else { Agrees::ToRoutes };
                (grant(from, other, to, namespace), true, agrees)
            });
    let object = prop_oneof![4 => route, 6 => policy, 1 => claim, 1 => consent];
    prop::collection::vec(object, 0..7).prop_map(|objects| {
        let mut seen = std::collections::HashSet::new();
        let objects = objects.into_iter().filter(|(_, own_hosts, _)| *own_hosts);
        // One object of a name, as anywhere.
        let head = |text: &str| {
            let field = |name: &str| {
                text.split(name)
                    .nth(1)
                    .map(|rest| rest.split([',', ' ', '\n']).find(|it| !it.is_empty()).unwrap_or("").to_owned())
            };
            (field("kind:"), field(" name:"))
        };
        objects.filter(|(text, ..)| seen.insert(head(text))).map(|(text, _, agrees)| (text, agrees)).collect()
    })
}

/// Objects of everybody.
pub(super) fn world() -> impl Strategy<Value = World> {
    (cluster(), tenant(0), tenant(1)).prop_map(|(cluster, ant, bee)| {
        let agreed = [&ant, &bee].map(|objects| objects.iter().map(|(_, agrees)| *agrees).collect());
        let mut objects: Vec<_> = cluster.into_iter().map(|text| (Owner::Cluster, text)).collect();
        for (i, of_tenant) in [ant, bee].into_iter().enumerate() {
            objects.extend(of_tenant.into_iter().map(|(text, _)| (Owner::Tenant(i), text)));
        }
        World { objects, agreed }
    })
}

fn meeting(index: &PolicyIndex, tenant: &str) -> Vec<String> {
    let of_tenant = asks().into_iter().filter(|ask| ask.host().ends_with(&format!("{tenant}.example")));
    of_tenant.map(|ask| format!("{ask:?}: {}", say(&decide(index, &ask, &active(|_| {}))))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// A shared gate in a cluster, where tenants may not name hosts.
    #[test]
    fn p27_a_tenant_changes_nothing_of_anothers_without_consent(world in world()) {
        let hosts = HostsFrom::Namespace("infra".to_owned());
        let install = Install { hosts, ..install() };
        let compile = |of: &dyn Fn(Owner) -> bool| PolicyIndex::compile(&world.objects(of), &install, None).0;
        let whole = compile(&|_| true);
        for (own, tenant) in TENANTS.iter().enumerate() {
            let alone = compile(&|owner| owner != Owner::Tenant(1 - own));
            if !world.has_consented(own) {
                prop_assert_eq!(meeting(&whole, tenant), meeting(&alone, tenant));
            }
        }
    }

    /// A sidecar hears of its own namespace and of the cluster's owner.
    #[test]
    fn p27_a_sidecar_is_judged_by_its_own_namespace(world in world()) {
        let hosts = HostsFrom::Namespace("infra".to_owned());
        let pod = OwnPod { namespace: TENANTS[0].to_owned(), labels: [("app".to_owned(), "one".to_owned())].into() };
        let install = Install { hosts, pod: Some(pod), gateways: Some(Default::default()), ..install() };
        let compile = |of: &dyn Fn(Owner) -> bool| PolicyIndex::compile(&world.objects(of), &install, None).0;
        let (whole, alone) = (compile(&|_| true), compile(&|owner| owner != Owner::Tenant(1)));
        for ask in asks() {
            let [one, two] = [&whole, &alone].map(|index| say(&decide(index, &ask, &active(|_| {}))));
            prop_assert_eq!(one, two, "{:?}", ask);
        }
    }
}

/// What consent lets happen, so that the property above is not true of nothing.
#[test]
fn p27_with_consent_a_tenant_narrows_another() {
    let parts = |consent: &[String]| {
        let own = [
            gateway(),
            route("ant/one", "hostnames: [ant.example]"),
            named("ant/p1", &format!("{}\nrules: [{{ name: open, access: Public }}]", on("HTTPRoute", "one"))),
            named(
                "bee/p1",
                "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: one, namespace: ant, sectionName: main }]\ndefault: Deny",
            ),
        ];
        let own = own.map(|text| {
            text.replace("hostnames: [ant.example]", "hostnames: [ant.example]\n  rules: [{ name: main }]")
        });
        all(&own.into_iter().chain(consent.iter().cloned()).collect::<Vec<_>>())
    };
    let asking = ask("GET ant.example/");
    meets(&compile(&parts(&[])).0, &asking, "anonymous by open");
    meets(
        &compile(&parts(&[grant("AuthPolicy", "bee", "HTTPRoute", "ant")])).0,
        &asking,
        "403 denied_by_default by default",
    );
}
