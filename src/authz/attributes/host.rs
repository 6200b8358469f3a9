//! The canonical host of a request.

use std::sync::Arc;

/// A host name or address, in lower case, without its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(Arc<str>);
