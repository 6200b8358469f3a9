//! The API as its callers meet it: the real router on a real socket, over real sessions in a memory store.

mod refusals;
pub(crate) mod rig;
mod stories;

use std::collections::BTreeSet;

use http::StatusCode;
use reqwest::Method;
use serde_json::Value;
use utoipa::OpenApi as _;

use self::rig::Rig;
use super::openapi::SessionApiDocument;

#[test]
fn the_document_names_every_route_and_no_other() {
    let document = serde_json::to_value(SessionApiDocument::openapi()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let documented: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let routed: BTreeSet<&str> = super::routes().iter().map(|(path, _)| *path).collect();
    assert_eq!(documented, routed);
}

#[tokio::test]
async fn the_document_names_every_method_and_no_other() {
    let rig = Rig::start().await;
    let document: Value = rig.get("/openapi.json").send().await.unwrap().json().await.unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        let documented: BTreeSet<String> =
            item.as_object().unwrap().keys().filter(|key| *key != "parameters").map(|it| it.to_uppercase()).collect();
        let real = path.replace("{sid}", "AAAAAAAAAAAAAAAAAAAAAA").replace("{subject}", "ada");
        let answer = rig.request(Method::TRACE, &real).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        // HEAD comes with every GET and is not written down.
        let allowed = answer.headers()["allow"].to_str().unwrap().split(',').map(str::trim).filter(|it| *it != "HEAD");
        assert_eq!(documented, allowed.map(str::to_owned).collect(), "{path}");
    }
}

#[test]
fn the_document_refers_only_to_what_it_holds() {
    let document = serde_json::to_value(SessionApiDocument::openapi()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|it| collect(it, references));
        }
        Value::Array(items) => items.iter().for_each(|it| collect(it, references)),
        _ => {}
    }
}
