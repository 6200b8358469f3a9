//! `cloakroom controller` on a real API server, as the service account and with the rights of `examples/kubernetes`.

mod certificates;
mod keys;
mod leaders;
mod lifecycle;
mod rights;
mod scene;
mod shared;
mod sidecars;
mod store_users;
mod webhook;
