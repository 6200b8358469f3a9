//! What stands between a proxy and cloakroom, as objects to apply: one source for the chart and for `cloakroom snippet`.
//!
//! The files below `charts/cloakroom/wiring` are plain YAML with places for values (`{{ .name }}`) and nothing else. The chart
//! fills them by Helm's `tpl`, this room by [`template::fill`], with the same values; a test renders both and compares. No file is
//! read here and nothing is printed.

pub mod envoy;
pub mod envoy_gateway;
pub mod gateway_api;
pub mod headers;
pub mod istio;
pub mod site;
pub mod template;

pub use self::envoy::{Envoy, GateAt, ListenerTls, Upstream};
pub use self::headers::Headers;
pub use self::site::{Gateway, Listener, Shape, Site, SiteError};
pub use self::template::TemplateError;

/// What the wiring is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// Plain Envoy.
    Envoy,
    /// Istio, sidecars and gateways.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// Any implementation of the Gateway API that knows the filter `ExternalAuth`.
    GatewayApi,
}

impl Mesh {
    /// Where the gate runs unless told.
    pub const fn default_shape(self) -> Shape {
        match self {
            Self::Envoy | Self::Istio => Shape::Sidecar,
            Self::EnvoyGateway | Self::GatewayApi => Shape::Shared,
        }
    }
}

/// A piece of the wiring: what a person must know about it, and the YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it goes and what it is for, in sentences; no line breaks.
    pub about: String,
    /// One document, without a separator.
    pub yaml: String,
    /// What it is.
    pub form: Form,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A whole document: an object to apply, or a file.
    Document,
    /// Lines of a file that is somebody else's.
    Lines,
}

/// A file of the chart, with places for values.
#[derive(Clone, Copy, Debug)]
struct File {
    name: &'static str,
    text: &'static str,
}

impl File {
    fn filled(self, values: &[template::Value<'_>]) -> Result<String, WiringError> {
        Ok(template::fill(self.name, self.text, values)?)
    }

    fn document(self, about: impl Into<String>, values: &[template::Value<'_>]) -> Result<Piece, WiringError> {
        Ok(Piece { about: about.into(), yaml: self.filled(values)?, form: Form::Document })
    }

    fn lines(self, about: impl Into<String>, values: &[template::Value<'_>]) -> Result<Piece, WiringError> {
        Ok(Piece { form: Form::Lines, ..self.document(about, values)? })
    }
}

macro_rules! chart_file {
    ($name:literal) => {
        File { name: $name, text: include_str!(concat!("../../charts/cloakroom/wiring/", $name)) }
    };
}
use chart_file;

/// Why there is no wiring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WiringError {
    /// The site does not go with the mesh.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A file and the values made for it have parted.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// All that must be applied, in the order in which to do it.
///
/// # Errors
/// When the site cannot be wired so; the error says what would do.
pub fn pieces(mesh: Mesh, site: &Site) -> Result<Vec<Piece>, WiringError> {
    site.check()?;
    match mesh {
        Mesh::Istio => istio::pieces(site),
        Mesh::Envoy => envoy::pieces(site),
        Mesh::EnvoyGateway => envoy_gateway::pieces(site),
        Mesh::GatewayApi => gateway_api::pieces(site),
    }
}

#[cfg(test)]
mod tests;
