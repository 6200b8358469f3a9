//! Events (`events.k8s.io/v1`): when a policy becomes bad, when it is good again, and when something needs a person.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::objects::Record;
use super::statuses::{Turn, policies};
use crate::api::status::CONTROLLER_NAME;
use crate::authz::policy::ObjectName;

/// The most bytes of an Event's note.
const MAX_NOTE: usize = 1024;

/// Tells of what happens to objects.
#[derive(Clone)]
pub(super) struct News(Recorder);

impl News {
    pub(super) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: CONTROLLER_NAME.to_owned(), instance: Some(instance.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Tells that a policy has become bad, or good again.
    pub(super) async fn policy(&self, (namespace, name): &ObjectName, record: &Record, turn: &Turn) {
        let resource = policies();
        let about = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            uid: Some(record.uid.clone()),
            ..ObjectReference::default()
        };
        let (type_, reason, note) = match turn {
            Turn::Bad(reason, words) => (EventType::Warning, reason.clone(), words.clone()),
            Turn::Good => {
                (EventType::Normal, "Accepted".to_owned(), "the policy counts for all of its targets".to_owned())
            }
        };
        // Events that are alike become one with a count, whose words stay those of the first: a generation has its own.
        let action = format!("CompileGeneration{}", record.generation.unwrap_or_default());
        self.tell(&about, type_, reason, action, note).await;
    }

    /// Tells that an object (`kind`), which is there or should be, needs a person.
    pub(super) async fn object(
        &self,
        kind: &str,
        (namespace, name): &ObjectName,
        uid: Option<&str>,
        reason: &str,
        words: &str,
    ) {
        let api_version = match kind {
            "RoleBinding" => "rbac.authorization.k8s.io/v1",
            _ => "v1",
        };
        let about = ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            uid: uid.map(str::to_owned),
            ..ObjectReference::default()
        };
        self.tell(&about, EventType::Warning, reason.to_owned(), "Keep".to_owned(), words.to_owned()).await;
    }

    async fn tell(&self, about: &ObjectReference, type_: EventType, reason: String, action: String, note: String) {
        let note = cut(&note);
        let event = Event { type_, reason, note: Some(note), action, secondary: None };
        // The status says the same and stays; an Event is for those who watch.
        if let Err(error) = self.0.publish(&event, about).await {
            tracing::warn!(%error, reason = event.reason, "an Event could not be told");
        }
    }
}

fn cut(note: &str) -> String {
    match note.len() {
        0..=MAX_NOTE => note.to_owned(),
        _ => format!("{}…", &note[..note.floor_char_boundary(MAX_NOTE - '…'.len_utf8())]),
    }
}
