//! The configuration files in the chart's ConfigMaps, as cloakroom itself reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use cloakroom::config::{Config, PoliciesConfig, StoreConfig};
use cloakroom::grpc::Address;
use cloakroom::k8s::controller::certificates::name_of_proxies;
use cloakroom::store::redis::Servers;
use e2e::chart::{self, scenarios};

use crate::house::objects;

/// A file as cloakroom reads it, with a namespace where the controller would write it.
fn read(name: &str, text: &str) -> Result<Config> {
    let text = text.replace("${namespace}", "shop");
    Config::parse(Path::new("/etc/cloakroom/config/cloakroom.yaml"), &text).with_context(|| name.to_owned())
}

/// The files of a scenario: `cloakroom-controller/sidecar.yaml` and its text.
fn files(values: &Path) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for map in objects(values)?.iter().filter(|it| it["kind"] == "ConfigMap") {
        let name = map["metadata"]["name"].as_str().unwrap_or_default();
        for (file, text) in map["data"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(file, _)| ["cloakroom.yaml", "sidecar.yaml"].contains(&file.as_str()))
        {
            files.push((format!("{name}/{file}"), text.as_str().unwrap_or_default().to_owned()));
        }
    }
    Ok(files)
}

#[test]
fn cloakroom_takes_every_file_that_the_chart_writes() -> Result<()> {
    let mut seen = BTreeSet::new();
    for (scenario, values) in scenarios()? {
        for (name, text) in files(&values)? {
            read(&format!("{scenario}: {name}"), &text)?;
            seen.insert(name);
        }
    }
    let want =
        ["cloakroom-controller/cloakroom.yaml", "cloakroom-controller/sidecar.yaml", "cloakroom-gate/cloakroom.yaml"];
    ensure!(seen.iter().map(String::as_str).eq(want), "{seen:?}");
    Ok(())
}

/// What must be the same in both, so that a status tells what gates do.
#[test]
fn the_controller_compiles_what_gates_compile() -> Result<()> {
    for (scenario, values) in scenarios()? {
        let files = files(&values)?;
        let (_, controller) =
            files.iter().find(|(it, _)| it == "cloakroom-controller/cloakroom.yaml").context("one")?;
        let controller = read(&scenario, controller)?;
        let gates: Vec<_> = files.iter().filter(|(it, _)| it != "cloakroom-controller/cloakroom.yaml").collect();
        ensure!(gates.len() == 1, "{scenario}: {} files for gates", gates.len());
        let gate = read(&scenario, &gates[0].1)?;
        ensure!(gate.realm == controller.realm && gate.realms == controller.realms, "{scenario}: realms");
        ensure!(gate.jwt.header == controller.jwt.header, "{scenario}: header");
        ensure!(format!("{:?}", gate.carriers) == format!("{:?}", controller.carriers), "{scenario}: carriers");
        ensure!(gate.route_identity == controller.route_identity, "{scenario}: route identity");
        let (PoliciesConfig::Kubernetes(gate), PoliciesConfig::Kubernetes(controller)) =
            (gate.policies, controller.policies)
        else {
            bail!("{scenario}: policies come from elsewhere");
        };
        ensure!(
            gate.install_namespace.is_some() && gate.install_namespace == controller.install_namespace,
            "{scenario}"
        );
        let is_shared = gates[0].0.starts_with("cloakroom-gate/");
        ensure!(!is_shared || gate.gateways == controller.gateways, "{scenario}: Gateways");
        ensure!(gate.namespace.is_none() == is_shared, "{scenario}: namespace");
        ensure!(gate.namespace_labels == is_shared, "{scenario}: labels of namespaces");
        ensure!(gate.namespace_labels == controller.namespace_labels, "{scenario}: labels of namespaces");
        ensure!(gate.snapshot.is_some(), "{scenario}: snapshot");
    }
    Ok(())
}

/// A namespace that leaves the values is not let in any more, though its certificate has not run out.
#[test]
fn p30_gates_let_in_proxies_of_the_namespaces_that_get_a_certificate_and_no_others() -> Result<()> {
    let mut seen = 0;
    for (scenario, values) in scenarios()? {
        let files: BTreeMap<_, _> = files(&values)?.into_iter().collect();
        let Some(gate) = files.get("cloakroom-gate/cloakroom.yaml") else { continue };
        let Address::Known { tls, .. } = read(&scenario, gate)?.listen.grpc else { bail!("{scenario}: anybody") };
        let controller = read(&scenario, &files["cloakroom-controller/cloakroom.yaml"])?.controller;
        let proxies = controller.certificates.context("certificates")?.proxies;
        let names = tls.client_names.context("a list")?;
        let names: BTreeSet<_> = names.iter().map(|it| it.as_ref().to_owned()).collect();
        ensure!(!names.is_empty() && names == proxies.iter().map(|it| name_of_proxies(it)).collect(), "{names:?}");
        seen += 1;
    }
    ensure!(seen > 3, "{seen} scenarios with shared gates");
    Ok(())
}

#[test]
fn values_arrive_where_cloakroom_reads_them() -> Result<()> {
    let files = files(&chart::folder().join("ci/everything-values.yaml"))?;
    let (_, gate) = files.iter().find(|(it, _)| it == "cloakroom-gate/cloakroom.yaml").context("a gate")?;
    let gate = read("everything", gate)?;
    ensure!(gate.jwt.header == "x-user-jwt" && gate.check.workers == 2, "{gate:?}");
    ensure!(gate.shutdown.drain.as_secs() == 30 && gate.sessions.idle.as_secs() == 1800, "{gate:?}");
    ensure!(gate.listen.health.is_ipv6() && gate.listen.admin.ip().is_loopback(), "{gate:?}");
    let StoreConfig::Redis(_) = gate.store else { bail!("{:?}", gate.store) };
    Ok(())
}

/// Sentinels with a password, and a database that no url names: for the shared gate, and for sidecars whose controller copies it.
#[test]
fn sentinels_may_ask_for_a_password() -> Result<()> {
    let values = chart::folder().join("ci/envoy-shared-values.yaml");
    let given = std::fs::read_to_string(&values)?;
    let sidecar = tempfile::NamedTempFile::new()?;
    let lines = given.lines().filter(|it| !["shape:", "proxyNamespaces:"].iter().any(|key| it.starts_with(key)));
    let text = lines.collect::<Vec<_>>().join("\n").replace(", certSecret: { name: redis-client }", "");
    std::fs::write(sidecar.path(), text)?;
    for (values, name) in
        [(&*values, "cloakroom-gate/cloakroom.yaml"), (sidecar.path(), "cloakroom-controller/sidecar.yaml")]
    {
        let files = files(values)?;
        let (_, text) = files.iter().find(|(it, _)| it == name).context("a gate's file")?;
        let StoreConfig::Redis(redis) = read(name, text)?.store else { anyhow::bail!("{text}") };
        let Servers::Sentinel(sentinel) = &redis.servers else { anyhow::bail!("{text}") };
        let password = Some(Path::new("/etc/cloakroom/secrets/sentinel.password"));
        ensure!(sentinel.access.password.as_deref() == password && redis.database == 3, "{name}: {redis:?}");
        ensure!(sentinel.access.user.as_deref() == Some("gates"), "{name}: {redis:?}");
    }
    let files = files(sidecar.path())?;
    let (_, text) = files.iter().find(|(it, _)| it == "cloakroom-controller/cloakroom.yaml").context("the other")?;
    let sidecars = read("controller", text)?.controller.sidecars.context("sidecars")?;
    let copied = sidecars.namespaces.sentinel_password.context("a password to copy")?;
    ensure!((copied.secret.as_str(), copied.key.as_str()) == ("redis-sentinel", "word"), "{copied:?}");
    Ok(())
}

/// Every file that a configuration names lies in a volume of the pod that reads it, under the key by which it is projected.
#[test]
fn every_file_that_is_named_is_mounted() -> Result<()> {
    for (scenario, values) in scenarios()? {
        let objects = objects(&values)?;
        let Some(gate) =
            objects.iter().find(|it| it["kind"] == "Deployment" && it["metadata"]["name"] == "cloakroom-gate")
        else {
            continue;
        };
        let pod = &gate["spec"]["template"]["spec"];
        let mut there = BTreeSet::new();
        for mount in pod["containers"][0]["volumeMounts"].as_array().context("mounts")? {
            let path = mount["mountPath"].as_str().unwrap_or_default();
            there.insert(path.to_owned());
            let volumes = pod["volumes"].as_array().context("volumes")?;
            let volume = volumes.iter().find(|it| it["name"] == mount["name"]).context("a mount has a volume")?;
            for item in volume["projected"]["sources"].as_array().into_iter().flatten() {
                for item in item["secret"]["items"].as_array().into_iter().flatten() {
                    there.insert(format!("{path}/{}", item["path"].as_str().unwrap_or_default()));
                }
            }
            if volume["name"] == "tls" {
                there.extend(["tls.crt", "tls.key", "ca.crt"].map(|file| format!("{path}/{file}")));
            }
        }
        let files = files(&values)?;
        let (_, text) = files.iter().find(|(it, _)| it == "cloakroom-gate/cloakroom.yaml").context("a gate's file")?;
        let named = text.split_whitespace().filter(|it| it.starts_with('/'));
        for file in named {
            let is_there = there.contains(file)
                || file.rsplit_once('/').is_some_and(|(folder, _)| {
                    ["/run/cloakroom", "/var/lib/cloakroom"].contains(&folder) && there.contains(folder)
                });
            ensure!(is_there, "{scenario}: {file} is in no volume: {there:?}");
        }
    }
    Ok(())
}
