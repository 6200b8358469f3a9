//! What is made of the files, for the sites that people have.

use super::*;

fn sites() -> Vec<(Mesh, Site)> {
    let gateways = ["public", "internal.gw"].map(|name| Gateway { namespace: "infra".into(), name: name.into() });
    let shared = Site { gateways: gateways.to_vec(), ..Site::new("cloakroom-system", Shape::Shared) };
    let sidecar = Site { namespaces: vec!["shop".into()], ..Site::new("cloakroom-system", Shape::Sidecar) };
    let gateway = gateways[0].clone();
    let patched = Site { patched: vec![Listener { gateway, name: "https".into() }], ..shared.clone() };
    let beside = Site { shape: Shape::Sidecar, ..shared.clone() };
    let routes = Site { namespaces: vec!["shop".into()], ..Site::new("cloakroom-system", Shape::Shared) };
    vec![
        (Mesh::Istio, sidecar),
        (Mesh::Istio, shared.clone()),
        (Mesh::EnvoyGateway, patched),
        (Mesh::EnvoyGateway, beside),
        (Mesh::GatewayApi, routes),
        (Mesh::Envoy, shared),
    ]
}

#[test]
fn every_piece_is_yaml_and_says_what_it_is_for() {
    for (mesh, site) in sites() {
        let pieces = pieces(mesh, &site).unwrap();
        assert!(pieces.len() > 2, "{mesh:?}");
        for piece in pieces {
            let value: serde_json::Value = serde_saphyr::from_str(&piece.yaml).unwrap();
            assert!(value.is_object() || piece.form == Form::Lines, "{mesh:?}: {}", piece.yaml);
            assert!(piece.about.ends_with('.') && !piece.about.contains('\n'), "{}", piece.about);
        }
    }
}

#[test]
fn names_that_are_more_than_names_are_refused() {
    let site = || Site::new("cloakroom-system", Shape::Sidecar);
    let gateway = |namespace: &str, name: &str| Gateway { namespace: namespace.into(), name: name.into() };
    let accounted = |of: &str, name: &str| {
        let account = site::Account { gateway: gateway("infra", of), name: name.into() };
        let istio = site::Istio { accounts: vec![account], ..site::Istio::default() };
        Site { gateways: vec![gateway("infra", "public")], istio, ..Site::new("cloakroom-system", Shape::Shared) }
    };
    for (site, want) in [
        (Site::new("a b", Shape::Sidecar), "`a b` is not a namespace"),
        (Site { namespaces: vec!["x: y".into()], ..site() }, "`x: y` is not a namespace"),
        (Site { gateways: vec![gateway("infra", "a\nb")], ..site() }, "is not a name of a Gateway"),
        (accounted("public", "default"), "every pod that asks for none"),
        (accounted("other", "a"), "infra/other: an account is given for a Gateway that is not named"),
        (accounted("public", "a b"), "is not a name of a service account"),
        (Site { issuer: "http://x".into(), ..site() }, "is not an issuer"),
        (Site { cluster_domain: "a..b".into(), ..site() }, "`a..b` is not a domain of a cluster"),
        (Site { issuer: "https://x/\"".into(), ..site() }, "is not an issuer"),
    ] {
        let error = pieces(Mesh::Istio, &site).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn p30_one_account_of_a_gateway_may_read_secrets() {
    let gateway = Gateway { namespace: "infra".into(), name: "web".into() };
    let accounts = vec![site::Account { gateway: gateway.clone(), name: "waypoint".into() }];
    for (istio, want) in
        [(site::Istio::default(), "web-istio"), (site::Istio { accounts, ..site::Istio::default() }, "waypoint")]
    {
        let site = Site { gateways: vec![gateway.clone()], istio, ..Site::new("cloakroom-system", Shape::Shared) };
        let pieces = pieces(Mesh::Istio, &site).unwrap();
        let binding = pieces.iter().find(|it| it.yaml.contains("kind: RoleBinding")).unwrap();
        let binding: serde_json::Value = serde_saphyr::from_str(&binding.yaml).unwrap();
        let subjects = binding["subjects"].as_array().unwrap();
        assert!(subjects.len() == 1 && subjects[0]["name"] == want, "{subjects:?}");
    }
}

#[test]
fn hosts_are_of_the_clusters_domain() {
    let site = Site { cluster_domain: "corp.example".into(), ..Site::new("cloakroom-system", Shape::Shared) };
    assert_eq!(site.gate_host(), "cloakroom-gate.cloakroom-system.svc.corp.example");
    assert_eq!(site.controller_host(), "cloakroom-controller.cloakroom-system.svc.corp.example");
}
