//! Listeners that admit routes by the labels of namespaces, and gates that may see those or not.

use anyhow::{Result, ensure};
use e2e::gate::Cloakroom;
use serde_json::json;

use crate::house::{comes_to, options, readyz, says, server};

const GRANT_NAMESPACES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: cloakroom-gate-namespaces }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-gate-namespaces }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: gate }]
";

/// A Gateway that selects, and a route with a public policy in another namespace.
const TOWN: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: bank }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: web, namespace: shop }
spec:
  gatewayClassName: any
  listeners:
  - name: web
    port: 80
    protocol: HTTP
    allowedRoutes: { namespaces: { from: Selector, selector: { matchExpressions: [{ key: team, operator: In, values: [bank] }] } } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: bank, namespace: bank }
spec: { parentRefs: [{ name: web, namespace: shop }], hostnames: [bank.example] }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: bank, namespace: bank }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: bank }]
  rules: [{ access: Public }]
";

fn labelled(team: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: bank, labels: {{ team: {team} }} }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_a_listener_admits_by_labels_that_the_gate_may_see() -> Result<()> {
    let server = server().await?;
    server.apply(TOWN).await?;
    server.apply(&labelled("bank")).await?;
    let mut options = options(&server)?;
    options.config["policies"]["kubernetes"]["namespaceLabels"] = json!(true);
    // Without the right it is ready all the same, admits nothing and says why.
    let gate = Cloakroom::spawn(options).await?;
    comes_to(&gate, "bank.example", 403).await?;
    says(&gate, "needs the labels of namespaces", 1).await?;
    says(&gate, "namespaces in all namespaces", 1).await?;
    // With it, labels count as they are now.
    server.apply(GRANT_NAMESPACES).await?;
    comes_to(&gate, "bank.example", 200).await?;
    server.apply(&labelled("club")).await?;
    comes_to(&gate, "bank.example", 403).await?;
    server.apply(&labelled("bank")).await?;
    comes_to(&gate, "bank.example", 200).await?;
    ensure!(readyz(&gate).await?["ready"] == true, "{}", readyz(&gate).await?);
    Ok(())
}
