//! What the server promises to the tests that stand on it.

use http::Method;
use serde_json::Value;
use tokio::net::TcpStream;

use super::*;
use crate::process::wait_until;

const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes";

fn route(path: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: shop }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  hostnames: [shop.example]
  rules:
  - matches: [{{ path: {{ type: PathPrefix, value: {path} }} }}]
"
    )
}

async fn get(server: &ApiServer, path: &str) -> Result<(u16, Value)> {
    server.api(Method::GET, path, None).await
}

fn path_in(route: &Value) -> &Value {
    &route["spec"]["rules"][0]["matches"][0]["path"]["value"]
}

#[tokio::test]
async fn routes_of_the_gateway_api_outlive_a_restart_and_old_watches_do_not_outlive_a_compaction() -> Result<()> {
    let mut server = ApiServer::spawn(ApiServerOptions::default()).await?;
    server.apply_folder(&tools::gateway_api_crds()?.join("standard")).await?;
    let applied = server.apply(&route("/cart")).await?;
    let written = applied.last().context("two objects")?;
    assert_eq!(server.path_of(written).await?, format!("{ROUTES}/cart"));
    for (text, words) in [(route("cart"), "must be an absolute path"), (route("/").replace("rules", "rulez"), "rulez")]
    {
        let refused = format!("{:#}", server.apply(&text).await.expect_err("not a route"));
        assert!(refused.contains(words), "{refused}");
    }

    let url = server.url();
    server.restart().await?;
    assert_eq!(server.url(), url);
    let found = get(&server, &format!("{ROUTES}/cart")).await?.1;
    assert_eq!(found["metadata"]["uid"], written["metadata"]["uid"]);

    let version = get(&server, ROUTES).await?.1["metadata"]["resourceVersion"].clone();
    let version = version.as_str().context("a version")?;
    server.apply(&route("/carts")).await?;
    // The watch ends after a second, here with one event.
    let watch = format!("{ROUTES}?watch=true&timeoutSeconds=1&resourceVersion={version}");
    let list = format!("{ROUTES}?resourceVersionMatch=Exact&resourceVersion={version}");
    let tells = async || get(&server, &watch).await.is_ok_and(|(_, event)| event["type"] == "MODIFIED");
    wait_until(PATIENCE, "event of a watch", tells).await?;
    assert_eq!(path_in(&get(&server, &list).await?.1["items"][0]), "/cart");
    server.compact_history().await?;
    assert_eq!(get(&server, &watch).await?.1["object"]["code"], 410);
    assert_eq!(get(&server, &list).await?.0, 410);
    assert_eq!(path_in(&get(&server, &format!("{ROUTES}/cart")).await?.1), "/carts");
    Ok(())
}

#[tokio::test]
async fn users_and_service_accounts_do_what_rbac_grants_them() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default().user("ada", &["readers"])).await?;
    let accounts = "
apiVersion: v1
kind: ServiceAccount
metadata: { name: gate }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: reader }
rules: [{ apiGroups: [''], resources: [configmaps], verbs: [list] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: readers }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }
subjects:
- { kind: Group, apiGroup: rbac.authorization.k8s.io, name: readers }
- { kind: ServiceAccount, name: gate }
";
    server.apply(accounts).await?;
    let gate = server.service_account_token("default", "gate").await?;
    let rows = [
        (server.token("ada")?, "default", 200),
        (gate.clone(), "default", 200),
        (gate.clone(), "kube-system", 403),
        (server.admin_token(), "kube-system", 200),
        ("nobody's".to_owned(), "default", 401),
    ];
    for (token, namespace, want) in rows {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let asked =
            async || server.api_as(&token, Method::GET, &path, None).await.is_ok_and(|(status, _)| status == want);
        // The authorizer follows the roles by a watch.
        wait_until(PATIENCE, &format!("{want} in {namespace}"), asked).await?;
    }
    assert!(server.kubeconfig("bob").is_err());
    let kubeconfig = server.kubeconfig_with("gate", &gate)?;
    let told = server.kubectl(&["auth", "whoami", "--kubeconfig", &kubeconfig.display().to_string()])?;
    assert!(told.contains("system:serviceaccount:default:gate"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_stopped_server_answers_when_it_goes_on_and_a_killed_one_refuses() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    server.stop().await?;
    assert!(server.process().is_stopped());
    TcpStream::connect(server.port.address()).await.expect("the kernel accepts");
    let mut answer = Box::pin(get(&server, "/api/v1/namespaces/default"));
    assert!(tokio::time::timeout(Duration::ZERO, &mut answer).await.is_err());
    server.cont();
    assert_eq!(answer.await?.0, 200);
    server.kill()?;
    assert!(TcpStream::connect(server.port.address()).await.is_err());
    Ok(())
}
