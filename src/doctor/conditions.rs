//! The conditions of an object's status.

use serde_json::Value;

use super::scene::{list, text};

/// Every condition of this type: of the object itself, and of each of its ancestors (Gateway API policies) or parents (routes).
pub(super) fn of<'a>(object: &'a Value, kind: &'a str) -> Vec<&'a Value> {
    let places = list(object, "/status/ancestors").iter().chain(list(object, "/status/parents"));
    let nested = places.flat_map(|place| list(place, "/conditions"));
    list(object, "/status/conditions").iter().chain(nested).filter(|it| text(it, "/type") == kind).collect()
}

/// Reason and message of the first condition of this type that is not `True`.
pub(super) fn refusal(object: &Value, kind: &str) -> Option<String> {
    let condition = of(object, kind).into_iter().find(|it| text(it, "/status") != "True")?;
    Some(words(condition))
}

/// `Reason: message`.
pub(super) fn words(condition: &Value) -> String {
    match text(condition, "/message") {
        "" => text(condition, "/reason").to_owned(),
        message => format!("{}: {message}", text(condition, "/reason")),
    }
}
