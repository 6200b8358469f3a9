//! What is answered about a pod. A dry run is answered the same: nothing happens here but the answer.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::{BadReview, Request, answer};
use crate::injector::{Injection, inject};

/// Answers an AdmissionReview of a pod; without settings, that it is well as it is.
///
/// # Errors
/// When it is none.
pub(super) fn review(body: &[u8], settings: Option<&Injection>) -> Result<Value, BadReview> {
    let request = Request::read(body)?;
    Ok(answer(response(&request, settings)))
}

fn response(request: &Request, settings: Option<&Injection>) -> Value {
    let uid = &request.uid;
    let untouched = json!({ "uid": uid, "allowed": true });
    // Later there is nothing to add: containers do not change.
    let is_new_pod = request.operation == "CREATE"
        && request.sub_resource.is_none()
        && (request.kind.group.as_str(), request.kind.kind.as_str()) == ("", "Pod");
    let (Some(settings), Some(pod), true) = (settings, &request.object, is_new_pod) else { return untouched };
    match inject(pod, request.namespace.as_deref().unwrap_or_default(), settings) {
        Ok(injected) => {
            let mut response = untouched;
            if !injected.patch.is_empty() {
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(BASE64_STANDARD.encode(Value::Array(injected.patch).to_string()));
            }
            if !injected.warnings.is_empty() {
                response["warnings"] = json!(injected.warnings);
            }
            response
        }
        Err(refusal) => json!({
            "uid": uid,
            "allowed": false,
            "status": { "code": 422, "reason": "Invalid", "message": refusal.to_string() },
        }),
    }
}
