//! Istio's mesh configuration: the extension providers that AuthorizationPolicies may name.

use std::time::Duration;

use serde_json::Value;

use super::scene::{Kind, Scene, called, list, name_of, text};

/// A provider that answers checks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Provider {
    pub(super) name: String,
    /// `envoyExtAuthzGrpc` or `envoyExtAuthzHttp`.
    pub(super) settings: Value,
    pub(super) is_grpc: bool,
}

/// One mesh configuration; an install by revisions has several.
#[derive(Clone, Debug)]
pub(super) struct MeshConfig {
    /// `ConfigMap istio-system/istio`.
    pub(super) about: String,
    /// Its providers, or why it does not read.
    pub(super) providers: Result<Vec<Provider>, String>,
}

impl MeshConfig {
    /// Those of the root namespace.
    pub(super) fn all(scene: &Scene) -> Vec<Self> {
        let maps = scene.within(Kind::ConfigMap, &scene.istio_root);
        let meshes = maps.filter(|it| name_of(it) == "istio" || name_of(it).starts_with("istio-"));
        let read = |map: &Value| {
            let mesh = map["data"].get("mesh")?.as_str()?;
            let providers = match serde_saphyr::from_str::<Value>(mesh) {
                Ok(mesh) => Ok(providers(&mesh)),
                Err(error) => Err(error.to_string()),
            };
            Some(Self { about: called(Kind::ConfigMap, map), providers })
        };
        meshes.filter_map(read).collect()
    }

    pub(super) fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().flatten().find(|it| it.name == name)
    }
}

fn providers(mesh: &Value) -> Vec<Provider> {
    let read = |it: &Value| {
        let name = text(it, "/name").to_owned();
        let (settings, is_grpc) = match (it.get("envoyExtAuthzGrpc"), it.get("envoyExtAuthzHttp")) {
            (Some(grpc), _) => (grpc.clone(), true),
            (None, Some(http)) => (http.clone(), false),
            // It traces or logs; no policy can ask it.
            (None, None) => return None,
        };
        Some(Provider { name, settings, is_grpc })
    };
    list(mesh, "/extensionProviders").iter().filter_map(read).collect()
}

/// A duration as Istio and Envoy Gateway write it: `0.25s`, `250ms`, `1m30s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        seconds += number
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}
