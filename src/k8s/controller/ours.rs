//! Which objects are ours to write: those with our label. Another of the same name is somebody's, and left as it is.

use kube::api::ObjectMeta;

/// The label, and its value.
pub(super) const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "cloakroom-controller");

/// Why an object is left alone: the reason of an Event, and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) words: String,
}

impl Fault {
    /// It has the name of ours and is not. `what` is what ours holds, `so` what follows.
    pub(super) fn foreign(what: &str, so: &str) -> Self {
        Self {
            reason: "NotOurs",
            words: format!(
                "the name is that of {what}, and the object has no label `{}: {}` or is of another type: it is left as it is, \
                 and {so}; rename or delete it",
                OURS.0, OURS.1
            ),
        }
    }
}

pub(super) fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(OURS.0)).is_some_and(|value| value == OURS.1)
}

/// With our labels. What others have put there stays.
pub(super) fn marked(metadata: ObjectMeta) -> ObjectMeta {
    let mut metadata = ObjectMeta { managed_fields: None, ..metadata };
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(OURS.0.to_owned(), OURS.1.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "cloakroom".to_owned());
    metadata
}
