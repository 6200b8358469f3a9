//! From a file's text to the objects in it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{FileError, Found, origin};
use crate::api::auth_policy::{AuthPolicy, Salvage};
use crate::api::gateway::GROUP;
use crate::api::identity_provider::IdentityProvider;
use crate::api::meta::ObjectMeta;
use crate::api::read::{ReadError, listed, nearest, read};
use crate::authz::policy::provider::ProviderName;
use crate::authz::policy::{Origin, PolicyName, PolicyObject, ProviderObject, Sourced, Unreadable};

const OURS: &str = "cloakroom.dev";
const KINDS: [&str; 7] =
    ["AuthPolicy", "IdentityProvider", "HTTPRoute", "GRPCRoute", "Gateway", "ReferenceGrant", "Secret"];
const MAX_OBJECTS: usize = 16_384;
const MAX_NESTING: usize = 32;
const MAX_NODES: usize = 100_000;
const MAX_ALIASES: usize = 64;
const MAX_REPLAYED: usize = 10_000;

/// Objects, as file after file is read.
#[derive(Default)]
pub(super) struct Gathering {
    pub(super) found: Found,
    seen: HashMap<(String, String, String), Origin>,
}

/// A document of a file.
struct Document<'a> {
    file: &'a Path,
    /// The line it begins at, from 1.
    line: u64,
    text: &'a str,
}

impl Gathering {
    /// Adds the objects of a file, or what is wrong with it.
    pub(super) fn add_file(&mut self, file: &Path, text: &str, errors: &mut Vec<FileError>) {
        for document in documents(file, text) {
            match document.parse() {
                Ok(None) => {}
                Ok(Some(value)) => {
                    if let Err(error) = self.add(&document, value) {
                        errors.push(error);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
    }

    fn add(&mut self, document: &Document<'_>, value: Value) -> Result<(), FileError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Err(document.error("an object needs `apiVersion` and `kind`, both texts"));
        };
        let metadata = value.get("metadata").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let metadata: ObjectMeta = read(metadata).map_err(|error| document.field_error("metadata", &error))?;
        if let Some((field, words)) = metadata.problem() {
            return Err(document.error(format!("{field}: {words}")));
        }
        let origin = origin(document.file, document.first_line());
        let key = (kind.clone(), metadata.namespace.clone(), metadata.name.clone());
        if let Some(first) = self.seen.get(&key) {
            return Err(document.error(format!(
                "{kind} {}/{} is defined twice, first at {first}: remove or rename one",
                metadata.namespace, metadata.name
            )));
        }
        if self.seen.len() >= MAX_OBJECTS {
            return Err(document.error(format!("more than {MAX_OBJECTS} objects")));
        }
        self.seen.insert(key, origin.clone());
        self.sort_in(document, value, &api_version, &kind, &metadata, origin)
    }

    fn sort_in(
        &mut self,
        document: &Document<'_>,
        value: Value,
        api_version: &str,
        kind: &str,
        metadata: &ObjectMeta,
        origin: Origin,
    ) -> Result<(), FileError> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let objects = &mut self.found.objects;
        match (group, kind) {
            (OURS, "AuthPolicy") => {
                let object = auth_policy(document, value, metadata)?;
                objects.policies.push(Sourced { origin, object });
            }
            (GROUP, "HTTPRoute") => objects.http_routes.push(Sourced { origin, object: document.read(value)? }),
            (GROUP, "GRPCRoute") => objects.grpc_routes.push(Sourced { origin, object: document.read(value)? }),
            (GROUP, "Gateway") => objects.gateways.push(Sourced { origin, object: document.read(value)? }),
            (GROUP, "ReferenceGrant") => {
                objects.reference_grants.push(Sourced { origin, object: document.read(value)? });
            }
            (OURS, "IdentityProvider") => {
                let name =
                    ProviderName { namespace: metadata.namespace.as_str().into(), name: metadata.name.as_str().into() };
                let body = read::<IdentityProvider>(value).map(Arc::new);
                objects.identity_providers.push(Sourced { origin, object: ProviderObject { name, body } });
            }
            ("", "Secret") => objects.secrets.push(Sourced { origin, object: document.read(value)? }),
            (_, kind) if KINDS.contains(&kind) => {
                let right = match kind {
                    "AuthPolicy" | "IdentityProvider" => crate::api::auth_policy::API_VERSION,
                    "Secret" => "v1",
                    _ => "gateway.networking.k8s.io/v1",
                };
                return Err(document.error(format!("{kind} is of `{right}`, not of `{api_version}`")));
            }
            (_, kind) => {
                return Err(document.error(match nearest(kind, KINDS) {
                    Some(near) => format!("unknown kind `{kind}`: did you mean `{near}`?"),
                    None => format!("unknown kind `{kind}`: this folder is for {}", listed(&KINDS)),
                }));
            }
        }
        Ok(())
    }
}

/// A policy whose spec does not read is a bad policy, if one can tell what it was meant to judge; else the file is at fault,
/// since nobody knows what to close.
fn auth_policy(document: &Document<'_>, value: Value, metadata: &ObjectMeta) -> Result<PolicyObject, FileError> {
    let name = PolicyName { namespace: metadata.namespace.as_str().into(), name: metadata.name.as_str().into() };
    let salvage = Salvage::from_value(&value);
    let body = match (read::<AuthPolicy>(value), salvage) {
        (Ok(policy), _) => Ok(Arc::new(policy)),
        (Err(error), Some(salvage)) => Err(Unreadable { error, salvage }),
        (Err(error), None) => return Err(document.field_error("", &error)),
    };
    Ok(PolicyObject { name, created: metadata.creation_timestamp.clone(), body })
}

/// Takes a file apart where documents begin. A `---` at the beginning of a line can be nothing else (YAML 1.2 §9.1.2).
fn documents<'a>(file: &'a Path, text: &'a str) -> Vec<Document<'a>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = vec![Document { file, line: 1, text: "" }];
    let mut start = 0;
    let mut end = 0;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let is_marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if is_marker && end > 0 {
            documents.last_mut().expect("begins with one").text = &text[start..end];
            documents.push(Document { file, line: i as u64 + 1, text: "" });
            start = end;
        }
        end += line.len();
    }
    documents.last_mut().expect("begins with one").text = &text[start..];
    documents
}

impl Document<'_> {
    /// The document's value; `None` when there is nothing in it but comments.
    fn parse(&self) -> Result<Option<Value>, FileError> {
        let mut alias_limits = serde_saphyr::options::AliasLimits::default();
        alias_limits.max_total_replayed_events = MAX_REPLAYED;
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_NESTING,
                max_nodes: MAX_NODES,
                max_events: 4 * MAX_NODES,
                max_aliases: MAX_ALIASES,
                max_anchors: MAX_ALIASES,
                max_recorded_anchor_events: MAX_REPLAYED,
                max_documents: 1,
            },
            alias_limits: alias_limits,
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_str_with_options::<Value>(self.text, options) {
            Ok(Value::Null) => Ok(None),
            Ok(value @ Value::Object(_)) => Ok(Some(value)),
            Ok(_) => Err(self.error("an object is expected, with `apiVersion`, `kind`, `metadata` and `spec`")),
            Err(error) => {
                let line = error.location().map(|location| self.line + location.line().saturating_sub(1));
                // Its own words end with a place in the document; ours begin with one in the file.
                let words = error.to_string();
                let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
                Err(FileError { line: line.or(Some(self.first_line())), ..FileError::new(self.file, words) })
            }
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, value: Value) -> Result<T, FileError> {
        read(value).map_err(|error| self.field_error("", &error))
    }

    /// The first line that says something.
    fn first_line(&self) -> u64 {
        let says_nothing = |line: &&str| {
            let line = line.strip_prefix("---").unwrap_or(line).trim();
            line.is_empty() || line.starts_with('#')
        };
        self.line + self.text.lines().take_while(says_nothing).count() as u64
    }

    /// What is wrong with a field, at the document's first line: the path says where in it.
    fn field_error(&self, below: &str, error: &ReadError) -> FileError {
        let path =
            [below, error.path.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        let words = if path.is_empty() { error.problem.clone() } else { format!("{path}: {}", error.problem) };
        self.error(words)
    }

    fn error(&self, words: impl Into<String>) -> FileError {
        FileError { line: Some(self.first_line()), ..FileError::new(self.file, words) }
    }
}
