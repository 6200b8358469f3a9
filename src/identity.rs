//! Who somebody is, as others tell it: a JWT of an issuer that a policy trusts becomes the owner of a session.

pub mod jwt;
