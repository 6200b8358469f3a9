//! What Helm makes of the files below `wiring/` is what `cloakroom snippet` prints.

use anyhow::{Result, ensure};
use cloakroom::wiring::{self, Form, Gateway, Headers, Mesh, Shape, Site};
use e2e::tools;
use serde_json::Value;

use crate::house::{NAMESPACE, parse, render, title};

/// The objects of one template, in the order of their titles and without the chart's labels.
fn rendered(template: &str, values: &str) -> Result<Vec<Value>> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), values)?;
    let text = render(&tools::helm()?, file.path(), &["--show-only", &format!("templates/wiring/{template}")])?;
    let mut objects = parse(&text)?;
    for object in &mut objects {
        let labels = object["metadata"].as_object_mut().and_then(|it| it.remove("labels"));
        ensure!(labels.is_some(), "{} has no labels", title(object));
    }
    Ok(sorted(objects))
}

/// The same of the program.
fn printed(mesh: Mesh, site: &Site) -> Result<Vec<Value>> {
    let pieces = wiring::pieces(mesh, site)?.into_iter().filter(|it| it.form == Form::Document);
    Ok(sorted(pieces.map(|it| Ok(serde_saphyr::from_str(&it.yaml)?)).collect::<Result<_>>()?))
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(title);
    objects
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
        let (theirs, ours) = (rendered("istio.yaml", values)?, printed(Mesh::Istio, &site)?);
        let titles = |objects: &[Value]| objects.iter().map(title).collect::<Vec<_>>();
        ensure!(titles(&theirs) == titles(&ours), "{values}: {:?} {:?}", titles(&theirs), titles(&ours));
        for (theirs, ours) in theirs.iter().zip(&ours) {
            ensure!(theirs == ours, "{values}: {}: {theirs:#}\n{ours:#}", title(ours));
        }
    }
    Ok(())
}
