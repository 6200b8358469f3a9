//! Istio: its provider, the policies that ask it, the filter, and who verifies our JWTs.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::ambient;
use super::custom::{self, Custom};
use super::finding::{Check, Finding};
use super::install::CONTROLLER;
use super::mesh_config::{MeshConfig, Provider, duration};
use super::scene::{Kind, Scene, Sight, called, list, name_of, namespace_of, text};

/// The provider's name, unless the install has chosen another.
const PROVIDER: &str = "cloakroom";
/// The host of the ServiceEntry that leads each proxy to its own sidecar.
const SIDECAR_HOST: &str = "cloakroom.sidecar.internal";
/// The EnvoyFilter of the install, in the root namespace.
const FILTER: &str = "cloakroom";
/// Longer than this no request should wait for a check.
const PATIENCE: Duration = Duration::from_secs(1);

const SNIPPET: &str = "cloakroom snippet istio prints it";

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let meshes = MeshConfig::all(scene);
    let ours = our_name(scene, &meshes);
    let is_asked = Custom::all(scene).iter().any(|it| it.provider == ours);
    // Istio may be there for something else.
    let is_ours = scene.is_told || is_asked || meshes.iter().any(|it| it.provider(&ours).is_some());
    let mut findings = Vec::new();
    if is_ours {
        findings.extend(providers(scene, &meshes, &ours));
    }
    findings.extend(custom::judge(scene, &meshes, &ours));
    if is_ours {
        findings.extend(asked(scene, &ours));
        findings.extend(ambient::judge(scene, &ours));
        findings.extend(filters(scene, &meshes, &ours));
        findings.extend(authentications(scene));
    }
    findings
}

/// Our provider's name, by whom it asks.
fn our_name(scene: &Scene, meshes: &[MeshConfig]) -> String {
    let providers = || meshes.iter().flat_map(|mesh| mesh.providers.iter().flatten());
    let is_ours = |provider: &&Provider| {
        let host = host_of(provider);
        host == SIDECAR_HOST || host.starts_with(&format!("cloakroom-gate.{}.svc", scene.install))
    };
    let named = providers().find(|it| it.name == PROVIDER);
    named.or_else(|| providers().find(is_ours)).map_or_else(|| PROVIDER.to_owned(), |it| it.name.clone())
}

/// The host that a provider asks, without the namespace that may stand before it.
fn host_of(provider: &Provider) -> &str {
    let service = text(&provider.settings, "/service");
    service.split_once('/').map_or(service, |(_, host)| host)
}

fn providers(scene: &Scene, meshes: &[MeshConfig], ours: &str) -> Vec<Finding> {
    if meshes.is_empty() {
        if matches!(scene.find(Kind::ConfigMap, &scene.istio_root, "istio"), Sight::Unseen) {
            return Vec::new();
        }
        return vec![Finding::problem(
            Check::IstioProvider,
            format!("ConfigMap {}/istio", scene.istio_root),
            "is not there: no AuthorizationPolicy can name a provider",
            "say which namespace Istio's control plane is in with --istio-namespace",
        )];
    }
    meshes.iter().flat_map(|mesh| provider(scene, mesh, ours)).collect()
}

fn provider(scene: &Scene, mesh: &MeshConfig, ours: &str) -> Vec<Finding> {
    let problem = |seen: String, cure: String| Finding::problem(Check::IstioProvider, mesh.about.clone(), seen, cure);
    if let Err(why) = &mesh.providers {
        return vec![problem(format!("does not read: {why}"), "correct its YAML".to_owned())];
    }
    let Some(provider) = mesh.provider(ours) else {
        let seen = format!("has no extension provider `{ours}`: policies that name it refuse everything");
        return vec![problem(seen, format!("add it to extensionProviders: {SNIPPET}"))];
    };
    let settings = &provider.settings;
    let mut findings = Vec::new();
    if !provider.is_grpc {
        let seen = format!("asks `{ours}` by HTTP, which cloakroom does not speak");
        findings.push(problem(seen, "write envoyExtAuthzGrpc in the place of envoyExtAuthzHttp".to_owned()));
    }
    match (text(settings, "/timeout"), duration(text(settings, "/timeout"))) {
        ("", _) => findings.push(problem(
            format!("sets no timeout for `{ours}`: a gate that hangs holds every request for 600 s"),
            "set timeout: 0.25s".to_owned(),
        )),
        (timeout, Some(long)) if long > PATIENCE => findings.push(Finding::warning(
            Check::IstioProvider,
            mesh.about.clone(),
            format!("waits {timeout} for `{ours}`: a gate that hangs holds every request as long"),
            "set timeout: 0.25s; at most 1s",
        )),
        (timeout, None) => {
            let seen = format!("has the timeout `{timeout}` for `{ours}`, which is no duration");
            findings.push(problem(seen, "set timeout: 0.25s".to_owned()));
        }
        _ => {}
    }
    if settings["failOpen"] == true {
        let seen = format!("says failOpen: true for `{ours}`: while no gate answers, every request passes unchecked");
        findings.push(problem(seen, "set failOpen: false".to_owned()));
    }
    if plain(&settings["statusOnError"]) != "503" {
        findings.push(Finding::warning(
            Check::IstioProvider,
            mesh.about.clone(),
            format!("has no statusOnError: \"503\" for `{ours}`: an outage looks like a refusal (403)"),
            "set statusOnError: \"503\"",
        ));
    }
    findings.extend(service(scene, mesh, provider));
    if findings.is_empty() {
        let seen = format!("has the provider `{ours}`, which waits {} and fails closed", text(settings, "/timeout"));
        findings.push(Finding::ok(Check::IstioProvider, mesh.about.clone(), seen));
    }
    findings
}

/// Whether what the provider asks is in Istio's registry.
fn service(scene: &Scene, mesh: &MeshConfig, provider: &Provider) -> Option<Finding> {
    let host = host_of(provider);
    let port = provider.settings["port"].as_u64().unwrap_or_default();
    let problem =
        |seen: String, cure: &str| Some(Finding::problem(Check::IstioProvider, mesh.about.clone(), seen, cure));
    let entries: Vec<_> =
        scene.all(Kind::ServiceEntry).iter().filter(|it| list(it, "/spec/hosts").iter().any(|it| it == host)).collect();
    if entries.len() > 1 {
        let names: Vec<_> = entries.iter().map(|it| called(Kind::ServiceEntry, it)).collect();
        let seen =
            format!("asks {host}, which is declared by {}: Istio takes the oldest, whoever made it", names.join(", "));
        return problem(seen, "delete all of them but the install's own, and ask who made the others");
    }
    if let Some(entry) = entries.first() {
        let about = called(Kind::ServiceEntry, entry);
        if !list(entry, "/spec/ports").iter().any(|it| it["number"].as_u64() == Some(port)) {
            let seen = format!("asks {host} at port {port}, which {about} does not have");
            return problem(
                seen,
                "let both name the same port, 19443 for sidecars: cloakroom snippet istio prints them",
            );
        }
        let export = list(entry, "/spec/exportTo");
        if !export.is_empty() && !export.iter().any(|it| it == "*") {
            let seen = format!("asks {host}, which {about} shows to some namespaces alone");
            return problem(seen, "set exportTo: [\"*\"] in the ServiceEntry");
        }
        if host == SIDECAR_HOST && namespace_of(entry) != scene.istio_root {
            let seen =
                format!("asks {host}, and {about} is not the install's own: that would be in {}", scene.istio_root);
            return problem(seen, "delete it, and apply the ServiceEntry: cloakroom snippet istio prints it");
        }
        if host == SIDECAR_HOST && !leads_here(entry) {
            let seen = format!("asks {host}, and {about} leads elsewhere than to the pod itself");
            return problem(
                seen,
                "let its only endpoint be 127.0.0.1, or the socket file: cloakroom snippet istio prints it",
            );
        }
        return None;
    }
    let mut parts = host.split('.');
    if let (Some(name), Some(namespace), Some("svc")) = (parts.next(), parts.next(), parts.next()) {
        // Only the install's own Services were read.
        if namespace == scene.install && matches!(scene.find(Kind::Service, namespace, name), Sight::Missing) {
            return problem(format!("asks the Service {namespace}/{name}, which is not there"), "name one that is");
        }
        return None;
    }
    if scene.gaps.iter().any(|gap| gap.kind == Kind::ServiceEntry) {
        return None;
    }
    let seen = format!("asks {host}, and no ServiceEntry has that host: Istio does not know it and refuses everything");
    problem(seen, "apply the ServiceEntry: cloakroom snippet istio prints it")
}

/// Whether an entry has one endpoint, and that is the pod itself.
fn leads_here(entry: &Value) -> bool {
    let [endpoint] = list(entry, "/spec/endpoints") else { return false };
    let address = text(endpoint, "/address");
    address.starts_with("unix:///") || address.parse().is_ok_and(|it: IpAddr| it.is_loopback())
}

/// A number or a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether the namespace's requests are checked at all.
fn asked(scene: &Scene, ours: &str) -> Vec<Finding> {
    if !scene.has_sidecars() {
        return Vec::new();
    }
    let policies = Custom::all(scene);
    let is_asked = |namespace: &String| {
        policies.iter().any(|it| it.provider == ours && (it.namespace == namespace || it.namespace == scene.istio_root))
    };
    let silent = scene
        .namespaces
        .iter()
        .filter(|namespace| scene.sees(Kind::AuthorizationPolicy, namespace) && !is_asked(namespace));
    silent
        .map(|namespace| {
            Finding::warning(
                Check::IstioPolicies,
                format!("Namespace {namespace}"),
                format!("has no AuthorizationPolicy that asks `{ours}`: its requests are not checked"),
                format!("apply one: {SNIPPET}"),
            )
        })
        .collect()
}

/// What takes forged headers off, and reads responses.
fn filters(scene: &Scene, meshes: &[MeshConfig], ours: &str) -> Vec<Finding> {
    let by_name = meshes.iter().filter_map(|mesh| mesh.provider(ours)).any(|it| host_of(it) == SIDECAR_HOST);
    let policies = Custom::all(scene);
    let mut namespaces: Vec<_> = policies.iter().filter(|it| it.provider == ours).map(|it| it.namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let can_see = scene.gaps.iter().all(|gap| gap.kind != Kind::EnvoyFilter);
    let header = scene.jwt_header();
    let strips = |it: &&Value| strips(it, &header);
    let leads = |it: &Value| list(it, "/spec/configPatches").iter().any(|patch| text(patch, "/applyTo") == "CLUSTER");
    let one = |namespace: &str| {
        let about = format!("EnvoyFilters of {namespace}");
        // The install's own first: one of the namespace is written by whoever may write there, and may select nothing.
        let mut of_root: Vec<_> = scene.within(Kind::EnvoyFilter, &scene.istio_root).filter(strips).collect();
        of_root.sort_by_key(|it| name_of(it) != FILTER);
        let own = scene.within(Kind::EnvoyFilter, namespace).find(strips);
        let has_sidecars = scene.has_sidecars() && scene.namespaces.iter().any(|it| it == namespace);
        match of_root.first().copied().or(own) {
            Some(filter) if has_sidecars && namespace_of(filter) != scene.istio_root => Finding::warning(
                Check::IstioFilter,
                about,
                format!(
                    "{} takes our headers off, and none of {} does: whether it holds for every pod is for whoever may write there",
                    called(Kind::EnvoyFilter, filter),
                    scene.istio_root
                ),
                "apply the EnvoyFilter: cloakroom snippet istio prints it",
            ),
            Some(filter) if by_name && !leads(filter) => Finding::problem(
                Check::IstioFilter,
                about,
                format!(
                    "{} has no cluster of its own for the check, which goes to whoever was first to make a ServiceEntry for {SIDECAR_HOST}",
                    called(Kind::EnvoyFilter, filter)
                ),
                "apply the EnvoyFilter anew: cloakroom snippet istio prints it",
            ),
            Some(filter) => {
                let seen = format!("{} takes our headers off before anything else", called(Kind::EnvoyFilter, filter));
                Finding::ok(Check::IstioFilter, about, seen)
            }
            None => Finding::problem(
                Check::IstioFilter,
                about,
                format!(
                    "none takes our headers off: a forged {} reaches services on paths that the AuthorizationPolicy leaves out, and \
                     what services say about sessions reaches clients",
                    scene.jwt_header()
                ),
                "apply the EnvoyFilter: cloakroom snippet istio prints it",
            ),
        }
    };
    namespaces.into_iter().filter(|_| can_see).map(one).collect()
}

/// Whether a filter takes our header off what clients send, before anything else: by a patch that does, and not by a word in it.
fn strips(filter: &Value, header: &str) -> bool {
    const EXTENSIONS: &str = "/patch/value/typed_config/early_header_mutation_extensions";
    let patches = list(filter, "/spec/configPatches").iter().filter(|it| text(it, "/applyTo") == "NETWORK_FILTER");
    let extensions = patches.flat_map(|it| list(it, EXTENSIONS));
    let mut mutations = extensions.flat_map(|it| list(it, "/typed_config/mutations"));
    mutations.any(|it| {
        let pattern = text(it, "/remove_on_match/key_matcher/safe_regex/regex");
        let whole = regex::Regex::new(&format!("^(?:{pattern})$"));
        text(it, "/remove").eq_ignore_ascii_case(header)
            || !pattern.is_empty() && whole.is_ok_and(|it| it.is_match(header))
    })
}

/// RequestAuthentications that read our header.
fn authentications(scene: &Scene) -> Vec<Finding> {
    let file = scene.controller_file();
    let base = match text(&file, "/jwt/issuer") {
        "" => format!("https://{CONTROLLER}.{}.svc", scene.install),
        issuer => issuer.to_owned(),
    };
    let header = scene.jwt_header();
    let mut findings = Vec::new();
    for object in scene.all(Kind::RequestAuthentication) {
        let (about, namespace) = (called(Kind::RequestAuthentication, object), namespace_of(object));
        let reads =
            |rule: &&Value| list(rule, "/fromHeaders").iter().any(|it| text(it, "/name").eq_ignore_ascii_case(&header));
        for rule in list(object, "/spec/jwtRules").iter().filter(reads) {
            let (issuer, keys) = (text(rule, "/issuer"), text(rule, "/jwksUri"));
            let wanted = format!("{base}/ns/{namespace}");
            let path = format!("/ns/{namespace}/.well-known/jwks.json");
            let problem =
                |seen: String, cure: String| Finding::problem(Check::IstioAuthentication, about.clone(), seen, cure);
            findings.push(if namespace != scene.istio_root && issuer != wanted {
                let seen = format!("expects the issuer `{issuer}`: JWTs for this namespace have another and get 401");
                problem(seen, format!("set issuer: {wanted}"))
            } else if keys.is_empty() && text(rule, "/jwks").is_empty() {
                let seen = "names no key set: Istio looks for one at the issuer, which need not answer istiod";
                problem(
                    seen.to_owned(),
                    format!("set jwksUri: http://{CONTROLLER}.{}.svc.cluster.local:9080{path}", scene.install),
                )
            } else if keys.is_empty() {
                let seen = "has the keys written in it: they are not exchanged when keys rotate";
                let cure = format!("set jwksUri: http://{CONTROLLER}.{}.svc.cluster.local:9080{path}", scene.install);
                Finding::warning(Check::IstioAuthentication, about.clone(), seen, cure)
            } else if namespace != scene.istio_root && !keys.ends_with(&path) {
                let seen = format!("fetches the keys of another namespace ({keys}): every JWT gets 401");
                problem(seen, format!("let jwksUri end in {path}"))
            } else {
                Finding::ok(
                    Check::IstioAuthentication,
                    about.clone(),
                    "verifies our JWTs with the namespace's own keys",
                )
            });
        }
    }
    findings
}
