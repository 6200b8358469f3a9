//! The canonical path of a request, and the other ways in which servers read it.

/// A request's path: decoded once, checked, with a note of every feature that servers treat differently.
#[derive(Clone, Debug)]
pub struct RequestPath(());
