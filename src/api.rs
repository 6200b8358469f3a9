//! Objects as users write them: AuthPolicy and the Gateway API objects that it attaches to. Types and their bounds only.

pub mod http_match;
