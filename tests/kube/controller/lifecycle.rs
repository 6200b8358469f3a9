//! What the status says, from one state to the next, and in each of them once more by a controller that has just started.

use anyhow::{Result, ensure};
use e2e::process::wait_until;
use http::Method;
use serde_json::{Value, json};

use super::scene::{Cluster, Controller, GATEWAY, PATIENCE, ROUTE, named, on_route, policy_path, version};

const GOOD: &str =
    "HTTPRoute shop: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed True Programmed 1";

/// One after the other, and no two at once.
struct Life {
    cluster: Cluster,
    controller: Option<Controller>,
}

impl Life {
    async fn begin() -> Result<Self> {
        let cluster = Cluster::spawn().await?;
        let controller = Some(cluster.controller().await?);
        Ok(Self { cluster, controller })
    }

    /// Waits until the policy says this; a new controller then has nothing to add.
    async fn says(&mut self, policy: &str, want: &str) -> Result<Value> {
        let told = self.cluster.says(policy, want).await?;
        self.controller.take().into_iter().try_for_each(Controller::end)?;
        self.controller = Some(self.cluster.controller().await?);
        self.cluster.settled().await?;
        let again = self.cluster.policy(policy).await?;
        ensure!(version(&again) == version(&told), "written again after a restart:\n{told:#}\n{again:#}");
        Ok(again)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p26_the_status_tells_the_life_of_a_policy_and_a_restart_adds_nothing() -> Result<()> {
    let mut life = Life::begin().await?;
    life.cluster.server.apply(&on_route("shop/shop", "shop", "")).await?;
    let missing = "HTTPRoute shop: Accepted False TargetNotFound 1, ResolvedRefs False TargetNotFound 1, \
                   Programmed False TargetNotFound 1";
    let told = life.says("shop/shop", missing).await?;
    let message = &told["status"]["ancestors"][0]["conditions"][0]["message"];
    assert_eq!(message, "spec.targetRefs[0]: there is no HTTPRoute `shop/shop`");
    assert_eq!(told["status"]["ancestors"][0]["controllerName"], "cloakroom.dev/controller");

    // Nothing leads to it yet.
    life.cluster.server.apply(ROUTE).await?;
    let unattached =
        "HTTPRoute shop: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed False NotAttached 1";
    life.says("shop/shop", unattached).await?;
    life.cluster.server.apply(GATEWAY).await?;
    let good = life.says("shop/shop", GOOD).await?;

    // An update that is no policy, then one that is.
    life.cluster.server.apply(&on_route("shop/shop", "shop", "realm: nowhere")).await?;
    let kept = "HTTPRoute shop: Accepted False Invalid 2, ResolvedRefs Unknown Invalid 2, Programmed True Programmed 1";
    let bad = life.says("shop/shop", kept).await?;
    let since = |policy: &Value, index: usize| {
        policy["status"]["ancestors"][0]["conditions"][index]["lastTransitionTime"].clone()
    };
    assert_eq!(since(&good, 2), since(&bad, 2), "Programmed did not turn");
    life.cluster.server.apply(&on_route("shop/shop", "shop", "default: Deny")).await?;
    life.says("shop/shop", &GOOD.replace('1', "3")).await?;

    // A younger policy for the same route; then the older one goes.
    life.cluster.server.apply(&on_route("shop/young", "shop", "")).await?;
    let conflict =
        "HTTPRoute shop: Accepted False Conflicted 1, ResolvedRefs True ResolvedRefs 1, Programmed False Conflicted 1";
    life.says("shop/young", conflict).await?;
    life.cluster.delete(&policy_path("shop/shop")).await?;
    life.says("shop/young", GOOD).await?;

    // A policy on the Gateway is replaced on every route there is, until there is one more.
    let wide = "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: edge }]";
    life.cluster.server.apply(&named("shop/wide", wide)).await?;
    let overridden =
        "Gateway edge: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed False Overridden 1";
    life.says("shop/wide", overridden).await?;
    let other = ROUTE.replace("name: shop,", "name: other,").replace("shop.example", "other.example");
    life.cluster.server.apply(&other).await?;
    life.says("shop/wide", &GOOD.replace("HTTPRoute shop", "Gateway edge")).await?;

    let both = async || life.cluster.events("shop/young").await.is_ok_and(|events| events.len() == 2);
    wait_until(PATIENCE, "Events", both).await?;
    let events = life.cluster.events("shop/young").await?;
    assert!(events[0].starts_with("Warning Conflicted spec.targetRefs[0]: HTTPRoute `shop/shop` has the older policy"));
    assert_eq!(events[1], "Normal Accepted the policy counts for all of its targets");
    let events = life.cluster.events("shop/wide").await?;
    assert!(events.is_empty(), "it never was bad: {events:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_a_stranger_gets_a_condition_and_changes_nothing() -> Result<()> {
    let mut life = Life::begin().await?;
    life.cluster.server.apply(&format!("{GATEWAY}---{ROUTE}---\n{}", on_route("shop/shop", "shop", ""))).await?;
    life.cluster.says("shop/shop", GOOD).await?;
    let before = life.cluster.policy("shop/shop").await?;

    // The stranger's policies are older in name, and each reaches for something of another's.
    let refused = "HTTPRoute shop: Accepted False RefNotPermitted 1, ResolvedRefs False RefNotPermitted 1, \
                   Programmed False RefNotPermitted 1";
    life.cluster.server.apply(&on_route("aaa/route", "shop/shop", "")).await?;
    life.says("aaa/route", refused).await?;
    // Whether there is such an object is nothing that the stranger learns.
    life.cluster.server.apply(&on_route("aaa/secret", "shop/hidden", "")).await?;
    life.cluster.says("aaa/secret", &refused.replace("HTTPRoute shop", "HTTPRoute hidden")).await?;
    let gateway = "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: shop }]";
    life.cluster.server.apply(&named("aaa/gateway", gateway)).await?;
    life.cluster.says("aaa/gateway", &refused.replace("HTTPRoute shop", "Gateway edge")).await?;
    life.cluster.server.apply(&named("aaa/host", "hosts: [shop.example]")).await?;
    let claimed =
        "AuthPolicy host: Accepted False Invalid 1, ResolvedRefs Unknown Invalid 1, Programmed False Invalid 1";
    let told = life.says("aaa/host", claimed).await?;
    let message = told["status"]["ancestors"][0]["conditions"][0]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("spec.hosts: would claim hosts that no Gateway gave this namespace"), "{message}");
    let after = life.cluster.policy("shop/shop").await?;
    assert_eq!(version(&before), version(&after), "the owner's policy is as it was");

    // The owner consents, and takes it back.
    let grant = "
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: { name: friends, namespace: shop }
spec:
  from: [{ group: cloakroom.dev, kind: AuthPolicy, namespace: aaa }]
  to: [{ group: gateway.networking.k8s.io, kind: Gateway }]
";
    life.cluster.server.apply(grant).await?;
    let overridden =
        "Gateway edge: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed False Overridden 1";
    life.says("aaa/gateway", overridden).await?;
    life.cluster.delete("/apis/gateway.networking.k8s.io/v1beta1/namespaces/shop/referencegrants/friends").await?;
    life.says("aaa/gateway", &refused.replace("HTTPRoute shop", "Gateway edge")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_controllers_keep_their_entries_and_nobody_fights() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let _controller = cluster.controller().await?;
    cluster.server.apply(&format!("{GATEWAY}---{ROUTE}---\n{}", on_route("shop/shop", "shop", ""))).await?;
    cluster.says("shop/shop", GOOD).await?;

    // Another controller adds its entry, and turns ours into nonsense.
    let foreign = json!({
        "ancestorRef": { "group": "example.com", "kind": "Mesh", "name": "mesh" },
        "controllerName": "example.com/mesh",
        "conditions": [{ "type": "Seen", "status": "True", "reason": "Seen", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    });
    let mut policy = cluster.policy("shop/shop").await?;
    let ours = policy["status"]["ancestors"][0].clone();
    policy["status"]["ancestors"] = json!([foreign, ours]);
    let path = format!("{}/status", policy_path("shop/shop"));
    let (status, written) = cluster.server.api(Method::PUT, &path, Some(&policy)).await?;
    ensure!(status == 200, "{written}");
    cluster.settled().await?;
    assert_eq!(version(&cluster.policy("shop/shop").await?), version(&written), "all is said, whatever the order");

    let mut policy = written;
    policy["status"]["ancestors"][1]["conditions"][0]["status"] = json!("False");
    let (status, written) = cluster.server.api(Method::PUT, &path, Some(&policy)).await?;
    ensure!(status == 200, "{written}");
    let mended = async || {
        let policy = cluster.policy("shop/shop").await.unwrap_or_default();
        let entries = &policy["status"]["ancestors"];
        entries[0]["conditions"][0]["status"] == "True" && entries[1] == foreign
    };
    e2e::process::wait_until(PATIENCE, "mended entry", mended).await
}

/// What docs/policies.md shows: `cargo test --test kube kubectl_tells -- --nocapture` prints it.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_tells_people_what_became_of_a_policy() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let _controller = cluster.controller().await?;
    cluster.server.apply(&format!("{GATEWAY}---{ROUTE}---\n{}", on_route("shop/shop", "shop", ""))).await?;
    cluster.says("shop/shop", GOOD).await?;
    cluster.server.apply(&on_route("shop/checkout", "chekout", "realm: shp")).await?;
    let bad =
        "HTTPRoute chekout: Accepted False Invalid 1, ResolvedRefs False TargetNotFound 1, Programmed False Invalid 1";
    cluster.says("shop/checkout", bad).await?;
    let told = async || cluster.events("shop/checkout").await.is_ok_and(|events| !events.is_empty());
    e2e::process::wait_until(PATIENCE, "Event", told).await?;
    let list = cluster.server.kubectl(&["get", "cauth", "-n", "shop"])?;
    let good = cluster.server.kubectl(&["describe", "cauth", "shop", "-n", "shop"])?;
    let bad = cluster.server.kubectl(&["describe", "cauth", "checkout", "-n", "shop"])?;
    println!(
        "$ kubectl get cauth -n shop\n{list}\n$ kubectl describe cauth shop -n shop\n{good}\n$ kubectl describe cauth checkout -n shop\n{bad}"
    );
    assert!(good.contains("requests are judged by it"), "{good}");
    for words in
        ["no realm `shp`: the install knows `default`", "there is no HTTPRoute `shop/chekout`", "Warning  Invalid"]
    {
        assert!(bad.contains(words), "{words}: {bad}");
    }
    Ok(())
}
