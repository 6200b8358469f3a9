//! Single looks at the API server, for those who ask once about objects of any kind and do not stay.

use std::time::Duration;

use kube::api::ListParams;
use kube::core::Request;
use serde_json::Value;
use tokio::time::timeout;

use super::ask::chain;
use super::{Access, ClusterSettings, ConnectError, Connection};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Objects a page.
const PAGE: u32 = 500;
/// More pages than this are not read.
const MAX_PAGES: usize = 200;

/// Why there is nothing to see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// There is no such object, or the server does not know the kind.
    #[error("it is not there")]
    Missing,
    /// We may not look.
    #[error("{0}")]
    Refused(String),
    /// The server does not answer, or not what was asked for.
    #[error("{0}")]
    Away(String),
}

impl Unseen {
    fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::Missing,
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => Self::Refused(status.message.clone()),
            kube::Error::Api(status) => Self::Away(format!("{} ({})", status.message, status.code)),
            error => Self::Away(chain(error)),
        }
    }
}

impl Connection {
    /// Finds the way to the API server for somebody who looks. The API server is not called.
    ///
    /// # Errors
    /// When there is none.
    pub async fn to_look(access: Access, install_namespace: &str) -> Result<Self, ConnectError> {
        let install_namespace = Some(install_namespace.to_owned());
        Self::open(&ClusterSettings { access, install_namespace, ..ClusterSettings::default() }).await
    }

    /// The address of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The answer of `GET` at this path, as text.
    ///
    /// # Errors
    /// See [`Unseen`].
    pub async fn get_text(&self, path: &str) -> Result<String, Unseen> {
        self.answer(http::Request::get(path).body(Vec::new()).map_err(|error| Unseen::Away(error.to_string()))?).await
    }

    /// The object at this path.
    ///
    /// # Errors
    /// See [`Unseen`].
    pub async fn get(&self, path: &str) -> Result<Value, Unseen> {
        decoded(&self.get_text(path).await?)
    }

    /// All objects of the collection at this path; `selector` is one of labels, or empty.
    ///
    /// # Errors
    /// See [`Unseen`].
    pub async fn list(&self, path: &str, selector: &str) -> Result<Vec<Value>, Unseen> {
        let mut objects = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let parameters = ListParams {
                label_selector: (!selector.is_empty()).then(|| selector.to_owned()),
                limit: Some(PAGE),
                continue_token: next,
                ..ListParams::default()
            };
            let request = Request::new(path).list(&parameters).map_err(|error| Unseen::Away(error.to_string()))?;
            let mut page = decoded(&self.answer(request).await?)?;
            if let Some(items) = page["items"].as_array_mut() {
                objects.append(items);
            }
            next = page["metadata"]["continue"].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(objects);
            }
        }
        Err(Unseen::Away(format!("there are more than {MAX_PAGES} pages of {PAGE} objects")))
    }

    async fn answer(&self, request: http::Request<Vec<u8>>) -> Result<String, Unseen> {
        let text = timeout(ANSWER, self.client.request_text(request)).await;
        text.map_err(|_| Unseen::Away(format!("no answer within {ANSWER:?}")))?.map_err(|error| Unseen::of(&error))
    }
}

fn decoded(text: &str) -> Result<Value, Unseen> {
    serde_json::from_str(text).map_err(|error| Unseen::Away(format!("an answer that does not decode: {error}")))
}
