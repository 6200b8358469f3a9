//! The ext_authz surface: checks in, answers out.
