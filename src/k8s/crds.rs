//! The CustomResourceDefinitions of our kinds, made from the very types that read the objects: `cloakroom crds` prints them,
//! `crds/` holds them, and a test keeps the two equal.

mod structural;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde_json::{Value, json};

use self::structural::structural;
use crate::api::auth_policy::AuthPolicySpec;
use crate::api::identity_provider::IdentityProviderSpec;
use crate::api::status::{AuthPolicyStatus, IdentityProviderStatus};

const GROUP: &str = "cloakroom.dev";
const VERSION: &str = "v1alpha1";
/// `kubectl get cloakroom` lists the objects of all our kinds.
const CATEGORY: &str = "cloakroom";

const HEADER: &str = "# Made by `cloakroom crds --dir crds` from the types in src/api: change those instead.\n";

/// A definition.
#[derive(Clone, Debug)]
pub struct Crd {
    /// `authpolicies.cloakroom.dev`.
    pub name: String,
    /// The object.
    pub object: Value,
}

impl Crd {
    /// The name of its file: `cloakroom.dev_authpolicies.yaml`.
    pub fn file_name(&self) -> String {
        match self.name.split_once('.') {
            Some((plural, group)) => format!("{group}_{plural}.yaml"),
            None => format!("{}.yaml", self.name),
        }
    }

    /// The definition as YAML: the same bytes each time.
    pub fn yaml(&self) -> String {
        let body = serde_saphyr::to_string(&self.object).expect("a tree of texts, numbers and lists can be written");
        format!("{HEADER}{body}")
    }
}

/// Every definition, in the order of their names.
pub fn all() -> Vec<Crd> {
    vec![
        Kind {
            kind: "AuthPolicy",
            plural: "authpolicies",
            short: "cauth",
            about: "An AuthPolicy says what requests to its targets need: which session, with which roles, scopes and claims; what \
                    the service behind is told of it; and what the service may do to sessions. Everything on a target of a \
                    policy without rules needs a live session.",
            // Tools that show which policies affect an object look for it (GEP-713).
            labels: Some(json!({ "gateway.networking.k8s.io/policy": "inherited" })),
            columns: json!([
                column("Targets", "string", ".spec.targetRefs[*].name", "The first object that it judges."),
                column("Hosts", "string", ".spec.hosts", "The hosts that it judges by name."),
                column(
                    "Accepted",
                    "string",
                    ".status.ancestors[*].conditions[?(@.type==\"Accepted\")].status",
                    "Whether it is valid and counts at its first target.",
                ),
                column(
                    "Programmed",
                    "string",
                    ".status.ancestors[*].conditions[?(@.type==\"Programmed\")].status",
                    "Whether it is in force at its first target.",
                ),
                wide("Rules", "string", ".spec.rules[*].name", "The first rule that has a name."),
                wide(
                    "Reason",
                    "string",
                    ".status.ancestors[*].conditions[?(@.type==\"Accepted\")].reason",
                    "Why it is accepted or not at its first target, in one word.",
                ),
                age(),
            ]),
            spec: schema_of::<AuthPolicySpec>(),
            status: schema_of::<AuthPolicyStatus>(),
        }
        .definition(),
        Kind {
            kind: "IdentityProvider",
            plural: "identityproviders",
            short: "cidp",
            about: "An IdentityProvider says how credentials of others are checked: JWTs of an issuer, opaque tokens of an \
                    authorization server, or API keys. The policies of its own namespace name it in `authenticate`.",
            labels: None,
            columns: json!([
                column("Issuer", "string", ".spec.jwt.issuer", "Whose JWTs it checks."),
                column("Endpoint", "string", ".spec.introspection.endpoint", "The server that it asks about tokens."),
                age(),
            ]),
            spec: schema_of::<IdentityProviderSpec>(),
            status: schema_of::<IdentityProviderStatus>(),
        }
        .definition(),
    ]
}

/// One of our kinds.
struct Kind {
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    about: &'static str,
    labels: Option<Value>,
    columns: Value,
    spec: Value,
    status: Value,
}

impl Kind {
    fn definition(self) -> Crd {
        let name = format!("{}.{GROUP}", self.plural);
        let mut object = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": name },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {
                    "kind": self.kind,
                    "listKind": format!("{}List", self.kind),
                    "plural": self.plural,
                    "singular": self.kind.to_lowercase(),
                    "shortNames": [self.short],
                    "categories": [CATEGORY],
                },
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "subresources": { "status": {} },
                    "additionalPrinterColumns": self.columns,
                    "schema": { "openAPIV3Schema": {
                        "type": "object",
                        "description": self.about,
                        "required": ["spec"],
                        "properties": {
                            "apiVersion": {
                                "type": "string",
                                "description": "The group and version of the object's kind: `cloakroom.dev/v1alpha1`.",
                            },
                            "kind": { "type": "string", "description": format!("The object's kind: `{}`.", self.kind) },
                            "metadata": { "type": "object" },
                            "spec": self.spec,
                            "status": described(self.status, "What the controller says about the object. Nothing that judges requests reads it."),
                        },
                    } },
                }],
            },
        });
        if let Some(labels) = self.labels {
            object["metadata"]["labels"] = labels;
        }
        Crd { name, object: sorted(object) }
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().with(|it| {
        it.inline_subschemas = true;
        it.meta_schema = None;
    });
    structural(settings.into_generator().into_root_schema_for::<T>().to_value())
}

fn described(mut schema: Value, words: &str) -> Value {
    schema["description"] = words.into();
    schema
}

/// A column of `kubectl get`. Of a path that leads to several values the API server prints the first.
fn column(name: &str, kind: &str, path: &str, what: &str) -> Value {
    json!({ "name": name, "type": kind, "jsonPath": path, "description": what })
}

/// A column of `kubectl get -o wide`.
fn wide(name: &str, kind: &str, path: &str, what: &str) -> Value {
    let mut column = column(name, kind, path, what);
    column["priority"] = 1.into();
    column
}

fn age() -> Value {
    column("Age", "date", ".metadata.creationTimestamp", "How long it has been there.")
}

/// With the members of every object in the order of their names, whatever the map is made of.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain => plain,
    }
}
