//! An API server with our kinds and many policies.

use anyhow::{Result, ensure};
use e2e::gate::GateOptions;
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::tools;
use http::Method;
use serde_json::{Value, json};

/// The namespace of the policies that are measured; the install's.
pub(crate) const NAMESPACE: &str = "shop";

/// The user that gates are.
const GATE: &str = "gate";

/// What a gate must be granted.
const GRANT: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: cloakroom-gate }
rules:
- { apiGroups: [cloakroom.dev], resources: [authpolicies, identityproviders], verbs: [list, watch] }
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, httproutes, grpcroutes, referencegrants]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: cloakroom-gate }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-gate }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: gate }]
";

pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
}

impl Cluster {
    pub(crate) async fn start() -> Result<Self> {
        let server = ApiServer::spawn(ApiServerOptions::default().user(GATE, &[])).await?;
        server.apply_folder(&tools::gateway_api_crds()?.join("standard")).await?;
        server.apply_folder(&tools::workspace().join("crds")).await?;
        server.apply(GRANT).await?;
        server.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {NAMESPACE} }}\n")).await?;
        Ok(Self { server })
    }

    /// Options of a gate that follows it.
    pub(crate) fn gate(&self) -> Result<GateOptions> {
        let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom"));
        let kubernetes =
            json!({ "kubeconfig": self.server.kubeconfig(GATE)?, "installNamespace": NAMESPACE, "gateways": [] });
        options.config = json!({ "policies": { "dir": null, "kubernetes": kubernetes } });
        Ok(options)
    }

    /// Makes policies of other hosts, each with ten rules, until there are so many.
    pub(crate) async fn fill(&self, count: usize) -> Result<()> {
        for n in 0..count {
            let rules: Vec<Value> = (0..10)
                .map(|rule| {
                    let path = json!({ "type": "PathPrefix", "value": format!("/part-{rule}") });
                    json!({ "name": format!("rule-{rule}"), "matches": [{ "path": path }], "require": { "roles": ["member"] } })
                })
                .collect();
            self.write(&format!("other-{n}"), &format!("other-{n}.example"), &json!(rules)).await?;
        }
        Ok(())
    }

    /// Creates or replaces a policy; returns when the API server has answered.
    pub(crate) async fn write(&self, name: &str, host: &str, rules: &Value) -> Result<()> {
        let policy = json!({
            "apiVersion": "cloakroom.dev/v1alpha1", "kind": "AuthPolicy",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "hosts": [host], "rules": rules },
        });
        self.server.apply(&policy.to_string()).await.map(drop)
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let path = format!("/apis/cloakroom.dev/v1alpha1/namespaces/{NAMESPACE}/authpolicies/{name}");
        let (status, answer) = self.server.api(Method::DELETE, &path, None).await?;
        ensure!(status == 200, "the API server answers {status}: {answer}");
        Ok(())
    }
}
