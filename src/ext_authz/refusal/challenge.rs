//! `WWW-Authenticate`: what a client could do about a refusal (RFC 6750 §3, RFC 9470 §3).

use crate::authz::reason::{DenyReason, RefusalClass};
use crate::authz::session::Realm;
use crate::authz::verdict::Denial;

use super::quoted_parameter;

/// Writes challenges.
#[derive(Clone, Debug)]
pub struct Challenger {
    /// `Bearer realm="…"`, which every challenge begins with.
    scheme: String,
}

impl Challenger {
    /// Challenges for this realm, a DNS label and so in need of no quoting.
    pub fn new(realm: &Realm) -> Self {
        Self { scheme: format!("Bearer realm=\"{realm}\"") }
    }

    /// The challenge for a denial: on every 401 (RFC 9110 §15.5.2), and where a scope is missing.
    pub fn challenge(&self, denial: &Denial) -> Option<String> {
        let (error, description) = match denial.reason.class() {
            // No error code where no credential was (RFC 6750 §3.1): nothing was wrong with it.
            RefusalClass::Unauthorized if denial.reason == DenyReason::NoCredential => {
                return Some(self.scheme.clone());
            }
            RefusalClass::Unauthorized => ("invalid_token", "The token is not valid here."),
            RefusalClass::StepUp => {
                ("insufficient_user_authentication", "A more recent or a stronger authentication is needed.")
            }
            RefusalClass::InsufficientScope => ("insufficient_scope", "A scope is missing."),
            RefusalClass::BadRequest | RefusalClass::Forbidden | RefusalClass::Unavailable => return None,
        };
        let mut text = self.scheme.clone();
        quoted_parameter(&mut text, "error", error);
        quoted_parameter(&mut text, "error_description", description);
        match denial.reason.class() {
            RefusalClass::StepUp => {
                list(&mut text, "acr_values", &denial.challenge.acr_values);
                if let Some(age) = denial.challenge.max_age {
                    quoted_parameter(&mut text, "max_age", &age.as_secs().to_string());
                }
            }
            RefusalClass::InsufficientScope => list(&mut text, "scope", &denial.challenge.scopes),
            _ => {}
        }
        Some(text)
    }
}

/// A parameter that lists values with spaces between them. A value that could not stand in such a list, or in a header at all,
/// is left out: it says nothing a client could use.
fn list(text: &mut String, name: &str, values: &[String]) {
    let usable = |value: &&str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    let values: Vec<&str> = values.iter().map(String::as_str).filter(usable).collect();
    if !values.is_empty() {
        quoted_parameter(text, name, &values.join(" "));
    }
}
