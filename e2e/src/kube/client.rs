//! The API as tests call it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{ADMIN, ApiServer, PATIENCE};
use crate::process::wait_until;
use crate::tools;

/// Who set a field, as `managedFields` tells it.
const FIELD_MANAGER: &str = "e2e";

impl ApiServer {
    /// Calls the API as [`ADMIN`]. What is not JSON is given as a string: `ok`, or the lines of a watch that has ended.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        self.api_as(&self.admin_token(), method, path, body).await
    }

    /// [`ApiServer::api`] as whoever has this token. A `PATCH` is a server-side apply.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn api_as(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let applies = method == Method::PATCH;
        let mut request = self.client.request(method, self.url() + path).bearer_auth(token).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.body(body.to_string());
            // JSON is YAML.
            request =
                request.header(CONTENT_TYPE, if applies { "application/apply-patch+yaml" } else { "application/json" });
        }
        let answer = request.send().await.with_context(|| format!("the API server, {path}"))?;
        let (status, text) = (answer.status().as_u16(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Writes the objects of a YAML text as [`ADMIN`], over whatever is there, and returns them as the server has them: a
    /// server-side apply that refuses unknown fields. Kinds that the text defines can be used at once.
    ///
    /// # Errors
    /// When one is refused; the error has the words of the server.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<Value>> {
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).context("the text to apply")?;
        let mut applied = Vec::new();
        let mut defined = Vec::new();
        for object in objects.iter().filter(|it| !it.is_null()) {
            if object["kind"] == "CustomResourceDefinition" {
                defined.push(object);
            } else {
                self.served(&defined).await?;
                defined.clear();
            }
            applied.push(self.apply_one(object).await?);
        }
        self.served(&defined).await?;
        Ok(applied)
    }

    /// [`ApiServer::apply`] of every file in a folder, in the order of their names.
    ///
    /// # Errors
    /// When a file cannot be read or is refused.
    pub async fn apply_folder(&self, folder: &Path) -> Result<()> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        let texts = files.iter().map(std::fs::read_to_string).collect::<std::io::Result<Vec<_>>>()?;
        self.apply(&texts.join("\n---\n")).await.with_context(|| folder.display().to_string())?;
        Ok(())
    }

    async fn apply_one(&self, object: &Value) -> Result<Value> {
        let path = self.path_of(object).await?;
        let query = format!("fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict");
        let (status, answer) = self.api(Method::PATCH, &format!("{path}?{query}"), Some(object)).await?;
        ensure!(matches!(status, 200 | 201), "{path}: {status} {}", answer["message"].as_str().unwrap_or_default());
        Ok(answer)
    }

    /// The path of an object, by its `apiVersion`, `kind` and `metadata`. The namespace is `default` where it names none.
    ///
    /// # Errors
    /// When the server does not know the kind.
    pub async fn path_of(&self, object: &Value) -> Result<String> {
        let text = |pointer: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str);
            text.with_context(|| format!("an object without {pointer}: {object}"))
        };
        let (version, kind, name) = (text("/apiVersion")?, text("/kind")?, text("/metadata/name")?);
        let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
        let (_, known) = self.api(Method::GET, &root, None).await?;
        let mut resources = known["resources"].as_array().into_iter().flatten();
        // `pods/status` and its like have the kind of the whole.
        let is_it = |it: &&Value| it["kind"] == kind && it["name"].as_str().is_some_and(|name| !name.contains('/'));
        let resource = resources.find(is_it).with_context(|| format!("the API server knows no {kind} in {version}"))?;
        let plural = resource["name"].as_str().unwrap_or_default();
        if resource["namespaced"] == true {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            return Ok(format!("{root}/namespaces/{namespace}/{plural}/{name}"));
        }
        Ok(format!("{root}/{plural}/{name}"))
    }

    /// Waits until these definitions are served: found by those who look what there is, and by those who call.
    async fn served(&self, definitions: &[&Value]) -> Result<()> {
        for definition in definitions {
            let spec = &definition["spec"];
            let (group, plural) = (&spec["group"], &spec["names"]["plural"]);
            let (Some(group), Some(plural)) = (group.as_str(), plural.as_str()) else {
                bail!("a definition without group or plural: {}", definition["metadata"]["name"]);
            };
            for version in spec["versions"].as_array().into_iter().flatten().filter(|it| it["served"] == true) {
                let root = format!("/apis/{group}/{}", version["name"].as_str().unwrap_or_default());
                let collection = format!("{root}/{plural}?limit=1");
                let is_served = async || {
                    let told = self.api(Method::GET, &root, None).await;
                    let named = told.is_ok_and(|(_, known)| {
                        known["resources"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == plural))
                    });
                    named && self.api(Method::GET, &collection, None).await.is_ok_and(|(status, _)| status == 200)
                };
                wait_until(PATIENCE, &format!("{plural} in {root}"), is_served).await?;
            }
        }
        Ok(())
    }

    /// A bearer token of a service account for an hour, as kubelets get them for their pods (TokenRequest).
    ///
    /// # Errors
    /// When there is no such account: apply one.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let (status, answer) = self.api(Method::POST, &path, Some(&request)).await?;
        ensure!(status == 201, "no token for {namespace}/{name}: {status} {}", answer["message"]);
        Ok(answer["status"]["token"].as_str().context("a TokenRequest answered without a token")?.to_owned())
    }

    /// Runs kubectl, as [`ADMIN`] unless the arguments name another kubeconfig, and returns what it wrote: standard output,
    /// then standard error.
    ///
    /// # Errors
    /// When it fails; the error has what it wrote.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(tools::kubectl()?);
        kubectl.arg("--kubeconfig").arg(self.kubeconfig(ADMIN)?);
        // By default in the home folder, by address: another server had this port before.
        kubectl.arg("--cache-dir").arg(self.folder.path().join("kubectl-cache"));
        let answer = kubectl.args(arguments).stdin(Stdio::null()).output().context("cannot start kubectl")?;
        let words = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        ensure!(answer.status.success(), "kubectl {}: {}", arguments.join(" "), words.trim());
        Ok(words)
    }
}
