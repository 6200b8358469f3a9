//! The route that the proxy says a request takes.

/// A route, by the word of the local proxy: Envoy Gateway's route metadata, or the context extension `cloakroom.route`. What the
/// word is worth, the install says ([`crate::authz::policy::RouteIdentity`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteClaim<'a> {
    /// `HTTPRoute` or `GRPCRoute`.
    pub kind: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The name of its rule, if that is said.
    pub section: Option<&'a str>,
}

impl<'a> RouteClaim<'a> {
    /// Reads `HTTPRoute/shop/shop` or `HTTPRoute/shop/shop/rule`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('/');
        let (kind, namespace, name, section) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        Self::new(kind, namespace, name, section).filter(|_| parts.next().is_none())
    }

    /// A claim of these parts, if they can be those of a route.
    pub fn new(kind: &'a str, namespace: &'a str, name: &'a str, section: Option<&'a str>) -> Option<Self> {
        let is_part = |part: &str| !part.is_empty() && !part.contains(['/', ' ']);
        let is_one = matches!(kind, "HTTPRoute" | "GRPCRoute")
            && is_part(namespace)
            && is_part(name)
            && section.is_none_or(is_part);
        is_one.then_some(Self { kind, namespace, name, section })
    }

    /// What both say, if they do not contradict each other.
    pub fn and(self, other: Self) -> Option<Self> {
        let section = match (self.section, other.section) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        (Self { section, ..self } == Self { section, ..other }).then_some(Self { section, ..self })
    }

    /// The route as people write it: `HTTPRoute shop/shop`.
    pub fn label(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// Whether `label` is that of this route.
    pub(in crate::authz) fn is(&self, label: &str) -> bool {
        let name = label.strip_prefix(self.kind).and_then(|rest| rest.strip_prefix(' '));
        let name = name.and_then(|rest| rest.strip_prefix(self.namespace)).and_then(|rest| rest.strip_prefix('/'));
        name == Some(self.name)
    }
}
