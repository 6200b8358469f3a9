//! What the definitions promise: everything has a bound and words, and `crds/` is what is generated.

use std::path::Path;

use serde_json::Value;

use super::*;

/// Every schema below a definition's `spec` and `status`, with its path.
fn walk(visit: &mut dyn FnMut(&str, &Value)) {
    fn below(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            below(&format!("{path}.{name}"), member, visit);
        }
        for (keyword, step) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let Some(inner) = schema.get(keyword) {
                below(&format!("{path}{step}"), inner, visit);
            }
        }
    }
    for crd in all() {
        let root = &crd.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            below(&format!("{} {part}", crd.object["spec"]["names"]["kind"].as_str().unwrap()), &root[part], visit);
        }
    }
}

#[test]
fn p28_everything_has_a_bound() {
    let mut unbounded = Vec::new();
    let mut untyped = Vec::new();
    walk(&mut |path, schema| {
        let has = |keyword: &str| schema.get(keyword).is_some();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum"),
            Some("array") => has("maxItems") && has("items"),
            Some("integer" | "number") => has("minimum") && has("maximum"),
            Some("boolean") => true,
            Some("object") if has("additionalProperties") => has("maxProperties"),
            Some("object") if has("x-kubernetes-preserve-unknown-fields") => has("maxProperties"),
            // Members that are not named here are pruned.
            Some("object") => true,
            None => {
                untyped.push(path.to_owned());
                ["maxLength", "maxItems", "maxProperties", "minimum", "maximum"].into_iter().all(has)
            }
            Some(other) => panic!("{path}: {other}"),
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
    });
    assert!(unbounded.is_empty(), "no bound: {unbounded:#?}");
    assert_eq!(untyped, ["AuthPolicy spec.rules[].require.claims[].values[]"]);
}

#[test]
fn schemas_are_structural() {
    let mut free = Vec::new();
    walk(&mut |path, schema| {
        for keyword in ["$ref", "anyOf", "oneOf", "allOf", "not", "const", "nullable", "title", "$defs", "examples"] {
            assert!(schema.get(keyword).is_none(), "{path} has {keyword}");
        }
        assert!(!schema["additionalProperties"].is_boolean(), "{path}");
        if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
            free.push(path.to_owned());
        }
    });
    let keys = |path: &str| format!("{path}.jwks.inline.keys[]");
    let wanted = [
        keys("AuthPolicy spec.rules[].session.exchange"),
        "AuthPolicy spec.rules[].require.claims[].values[]".to_owned(),
        keys("IdentityProvider spec.jwt"),
    ];
    free.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort();
    assert_eq!(free, wanted);
}

#[test]
fn every_field_is_explained() {
    let mut poor = Vec::new();
    walk(&mut |path, schema| {
        let words = schema["description"].as_str().unwrap_or_default();
        let is_entry = path.ends_with("[]") || path.ends_with("{}");
        let reads = words.len() >= 20 && words.ends_with('.') && words.starts_with(|it: char| it.is_ascii_uppercase());
        // For programmers: a link, a path of Rust.
        let is_code = ["[`", "::", "See ", "Option", "\n/"].into_iter().any(|it| words.contains(it));
        if is_code || !(reads || is_entry && words.is_empty()) {
            poor.push(format!("{path}: {words}"));
        }
    });
    assert!(poor.is_empty(), "{poor:#?}");
}

#[test]
fn every_rule_says_what_to_change() {
    let mut rules = 0;
    walk(&mut |path, schema| {
        for validation in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let message = validation["message"].as_str().unwrap_or_default();
            assert!(message.len() > 15 && !message.contains('\n') && !message.contains("  "), "{path}: {validation}");
        }
    });
    assert!(rules > 60, "{rules}");
}

#[test]
fn the_definitions_in_the_repository_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut wanted: Vec<String> = Vec::new();
    for crd in all() {
        let file = folder.join(crd.file_name());
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == crd.yaml(),
            "{} is not what the types say: run `cargo run -- crds --dir crds` and commit what it writes",
            file.display()
        );
        let read: Value = serde_saphyr::from_str(&written).unwrap();
        assert_eq!(read, crd.object, "YAML that reads back as the same object");
        wanted.push(crd.file_name());
    }
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, wanted, "a file of no definition lies in crds/");
}
