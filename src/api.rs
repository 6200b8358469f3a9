//! Objects as users write them: AuthPolicy, the Gateway API objects that it attaches to, and what checks credentials for it. Types and their bounds only.

pub mod auth_policy;
pub mod byte_size;
pub mod duration;
pub mod exchange;
pub mod gateway;
pub mod http_match;
pub mod identity_provider;
pub mod meta;
pub mod namespace;
pub mod read;
pub mod route_status;
pub mod secret;
pub mod status;
mod validation;
