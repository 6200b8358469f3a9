//! `jwt`: the session JWTs that services read.

use std::path::Path;

use super::file::JwtFile;
use super::{Wrong, within, wrong};
use crate::api::byte_size::ByteSize;
use crate::sessions::keyring::KeyRingConfig;

/// `jwt`.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// The header services read, in lower case.
    pub header: String,
    /// The keys and what is made with them.
    pub ring: KeyRingConfig,
}

pub(super) fn resolve(file: JwtFile, folder: &Path) -> Result<JwtConfig, Wrong> {
    let header = file.header.unwrap_or_else(|| "x-session-jwt".to_owned()).to_ascii_lowercase();
    let is_word = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_ours = header.strip_prefix("x-").is_some_and(|rest| rest.split('-').all(is_word));
    if !is_ours || header.len() > 64 {
        return Err(wrong(
            "jwt.header",
            format!(
                "`{header}` is not a header name of ours: it begins with x-, and has letters, digits and single dashes after it, at most \
                 64 in all"
            ),
        ));
    }
    if header.starts_with("x-envoy-") || header.starts_with("x-forwarded-") {
        return Err(wrong(
            "jwt.header",
            format!("`{header}` belongs to the proxy: choose another, such as x-session-jwt"),
        ));
    }
    let Some(issuer) = file.issuer else {
        return Err(wrong(
            "jwt.issuer",
            "is required: the https URL that services know as this install, such as https://cloakroom.example".into(),
        ));
    };
    let uri: Option<http::Uri> = issuer.parse().ok();
    let good = uri.is_some_and(|it| {
        it.scheme_str() == Some("https") && it.host().is_some_and(|host| !host.is_empty()) && it.query().is_none()
    });
    if !good || issuer.contains(['#', '?', '"', '\\']) || issuer.len() > 512 {
        return Err(wrong(
            "jwt.issuer",
            format!("`{issuer}` is not an https URL without query and fragment (RFC 8414 §2)"),
        ));
    }
    let lifetime = within("jwt.lifetime", file.lifetime, 60_000, 10_000, 60_000)?;
    if lifetime.subsec_nanos() != 0 {
        return Err(wrong("jwt.lifetime", "must be whole seconds, as a JWT tells them".into()));
    }
    let max_bytes = file.max_bytes.map_or(6 * 1024, ByteSize::get);
    let max_bytes = usize::try_from(max_bytes).ok().filter(|it| (512..=60 * 1024).contains(it));
    let ring = KeyRingConfig {
        dir: folder.join(file.keys_dir.as_deref().unwrap_or("keys")),
        issuer: issuer.trim_end_matches('/').to_owned(),
        algorithm: file.algorithm.unwrap_or_default(),
        lifetime,
        max_bytes: max_bytes.ok_or_else(|| {
            wrong("jwt.maxBytes", "is out of bounds: 512 to 60Ki (Envoy's default for all headers together)".into())
        })?,
    };
    Ok(JwtConfig { header, ring })
}
