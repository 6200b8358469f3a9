//! What Helm makes of the files below `wiring/` is what `cloakroom snippet` prints.

use anyhow::{Result, ensure};
use cloakroom::wiring::{self, Gateway, Headers, Mesh, Shape, Site};
use e2e::chart::NAMESPACE;
use serde_json::Value;

use crate::house::{printed, title, wired};

/// What Helm renders of the template with these values.
fn rendered(values: &str) -> Result<Vec<Value>> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), values)?;
    wired("istio.yaml", &["--values", &file.path().display().to_string()])
}

#[test]
fn istio_is_wired_alike_by_the_chart_and_the_program() -> Result<()> {
    let gateway = |name: &str| Gateway { namespace: "infra".into(), name: name.into() };
    let site = |shape| Site::new(NAMESPACE, shape);
    let renamed =
        Headers { jwt: "x-user-jwt".into(), exchanges: vec!["x-a".into(), "x_b".into()], ..Headers::default() };
    let rows = [
        ("mesh: istio", site(Shape::Sidecar)),
        (
            "{ mesh: istio, istio: { rootNamespace: mesh, provider: gate, requestAuthentication: { namespaces: [shop, crm] } },
               jwt: { header: X-User-JWT, issuer: https://id.example/ }, wiring: { exchangeHeaders: [x-a, x_b] } }",
            Site {
                namespaces: vec!["shop".into(), "crm".into()],
                issuer: "https://id.example".into(),
                headers: renamed,
                istio: wiring::site::Istio { root_namespace: "mesh".into(), provider: "gate".into(), accounts: Vec::new() },
                ..site(Shape::Sidecar)
            },
        ),
        (
            "{ mesh: istio, shape: shared, gateways: [{ namespace: infra, name: public }, { namespace: infra, name: waypoint, account: waypoint }] }",
            Site {
                gateways: vec![gateway("public"), gateway("waypoint")],
                istio: wiring::site::Istio {
                    accounts: vec![wiring::site::Account { gateway: gateway("waypoint"), name: "waypoint".into() }],
                    ..wiring::site::Istio::default()
                },
                ..site(Shape::Shared)
            },
        ),
    ];
    for (values, site) in rows {
        let (theirs, ours) = (rendered(values)?, printed(Mesh::Istio, &site)?);
        let titles = |objects: &[Value]| objects.iter().map(title).collect::<Vec<_>>();
        ensure!(titles(&theirs) == titles(&ours), "{values}: {:?} {:?}", titles(&theirs), titles(&ours));
        for (theirs, ours) in theirs.iter().zip(&ours) {
            ensure!(theirs == ours, "{values}: {}: {theirs:#}\n{ours:#}", title(ours));
        }
    }
    Ok(())
}
