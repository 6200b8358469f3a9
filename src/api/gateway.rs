//! The Gateway API objects that policies attach to (`gateway.networking.k8s.io`, v1), as far as they decide which requests a
//! route gets. Everything else in them is passed over.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::http_match::HttpRouteMatch;
use super::meta::ObjectMeta;
use super::route_status::RouteStatus;

/// The API group of these objects.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// An HTTPRoute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it routes.
    pub spec: HttpRouteSpec,
    /// What is told of it.
    #[serde(default, skip_serializing_if = "RouteStatus::is_silent")]
    pub status: RouteStatus,
}

/// See [`HttpRoute::spec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways it wants to be attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Its hosts; those of the listener unless told.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Its rules; one that matches everything unless told.
    #[serde(default = "one_rule")]
    pub rules: Vec<HttpRouteRule>,
}

fn one_rule() -> Vec<HttpRouteRule> {
    vec![HttpRouteRule::default()]
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Its name, for `sectionName`.
    #[serde(default)]
    pub name: Option<String>,
    /// Its matches; the path prefix `/` unless told.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// Its filters.
    #[serde(default)]
    pub filters: Vec<RouteFilter>,
    /// Where it sends requests.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}

/// A filter of a rule. What it does is looked at where it sends requests elsewhere, or makes others of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteFilter {
    /// `RequestRedirect` and others.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// With `RequestMirror`: who gets a copy of each request.
    #[serde(default)]
    pub request_mirror: Option<RequestMirror>,
    /// With `RequestHeaderModifier`: the headers that the service is sent besides.
    #[serde(default)]
    pub request_header_modifier: Option<HeaderModifier>,
}

/// See [`RouteFilter::request_header_modifier`]. What is taken off is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderModifier {
    /// In the place of those that came.
    #[serde(default)]
    pub set: Vec<HeaderName>,
    /// Beside those that came.
    #[serde(default)]
    pub add: Vec<HeaderName>,
}

/// A header, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderName {
    /// Its name.
    pub name: String,
}

/// See [`RouteFilter::request_mirror`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Where the copies go.
    pub backend_ref: BackendRef,
}

/// Where a rule sends requests. Weights are not looked at: what may get requests tomorrow is judged today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// The core group, which is the empty text, unless told.
    #[serde(default)]
    pub group: String,
    /// `Service` unless told.
    #[serde(default = "service")]
    pub kind: String,
    /// The route's namespace unless told. Another one needs a ReferenceGrant there.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Filters for requests that are sent there.
    #[serde(default)]
    pub filters: Vec<RouteFilter>,
}

fn service() -> String {
    "Service".to_owned()
}

/// A GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRoute {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it routes.
    pub spec: GrpcRouteSpec,
    /// What is told of it.
    #[serde(default, skip_serializing_if = "RouteStatus::is_silent")]
    pub status: RouteStatus,
}

/// See [`GrpcRoute::spec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    /// The Gateways it wants to be attached to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Its hosts; those of the listener unless told.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<GrpcRouteRule>,
}

/// A rule of a GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteRule {
    /// Its name, for `sectionName`.
    #[serde(default)]
    pub name: Option<String>,
    /// Its matches; every call unless told.
    #[serde(default)]
    pub matches: Vec<GrpcRouteMatch>,
    /// Its filters.
    #[serde(default)]
    pub filters: Vec<RouteFilter>,
    /// Where it sends calls.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}

/// A match of a GRPCRoute: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcRouteMatch {
    /// The service and the method.
    #[serde(default)]
    pub method: Option<GrpcMethodMatch>,
    /// Header fields.
    #[serde(default)]
    pub headers: Vec<super::http_match::HttpNameMatch>,
}

/// See [`GrpcRouteMatch::method`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcMethodMatch {
    /// How both are compared.
    #[serde(default, rename = "type")]
    pub kind: super::http_match::ValueMatchType,
    /// The service's full name, `shop.v1.Orders`; any unless told.
    #[serde(default)]
    pub service: Option<String>,
    /// The method's name, `List`; any unless told.
    #[serde(default)]
    pub method: Option<String>,
}

/// The Gateway that a route wants to be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// `gateway.networking.k8s.io` unless told.
    #[serde(default = "group")]
    pub group: String,
    /// `Gateway` unless told.
    #[serde(default = "gateway")]
    pub kind: String,
    /// The route's namespace unless told.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// One listener; all of them unless told.
    #[serde(default)]
    pub section_name: Option<String>,
    /// Listeners on this port; any unless told.
    #[serde(default)]
    pub port: Option<u16>,
}

fn group() -> String {
    GROUP.to_owned()
}

fn gateway() -> String {
    "Gateway".to_owned()
}

/// A Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it listens to.
    pub spec: GatewaySpec,
}

/// See [`Gateway::spec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Its listeners.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// A listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name, for `sectionName`.
    pub name: String,
    /// The hosts it admits; all of them unless told.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Its port.
    pub port: u16,
    /// `HTTP` or `HTTPS`; others carry no HTTP requests that a route could match.
    pub protocol: String,
    /// The routes it admits.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// See [`Listener::allowed_routes`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRoutes {
    /// From which namespaces.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
    /// Of which kinds; those of the protocol unless told.
    #[serde(default)]
    pub kinds: Vec<RouteKind>,
}

/// See [`AllowedRoutes::namespaces`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteNamespaces {
    /// Which.
    #[serde(default)]
    pub from: FromNamespaces,
    /// With `Selector`: the labels of the namespaces ([`super::namespace::NamespaceSelector`]). Read where it is used: one that is
    /// wrong is its listener's trouble alone.
    #[serde(default)]
    pub selector: Option<Value>,
}

/// See [`RouteNamespaces::from`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNamespaces {
    /// The Gateway's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those with certain labels.
    Selector,
    /// None.
    None,
}

/// See [`AllowedRoutes::kinds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteKind {
    /// `gateway.networking.k8s.io` unless told.
    #[serde(default = "group")]
    pub group: String,
    /// `HTTPRoute` or `GRPCRoute`.
    pub kind: String,
}

/// A ReferenceGrant: lets objects of other namespaces refer to those of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrant {
    /// Name and namespace; the namespace is the one referred to.
    pub metadata: ObjectMeta,
    /// Who may refer to what.
    pub spec: ReferenceGrantSpec,
}

/// See [`ReferenceGrant::spec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrantSpec {
    /// Who.
    #[serde(default)]
    pub from: Vec<GrantFrom>,
    /// To what.
    #[serde(default)]
    pub to: Vec<GrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantFrom {
    /// Their group.
    pub group: String,
    /// Their kind.
    pub kind: String,
    /// Their namespace.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantTo {
    /// Their group.
    pub group: String,
    /// Their kind.
    pub kind: String,
    /// One name; every one unless told.
    #[serde(default)]
    pub name: Option<String>,
}
