//! What is compared.

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Arm {
    /// No ext_proc on the route, no `session` in the rule.
    Without,
    /// ext_proc on the route, no `session` in the rule: the response has no handle.
    NoHandle,
    /// ext_proc, and a handle; the service asks for nothing.
    NoCommand,
    /// Each response updates one session with what it holds already.
    SameAgain,
    /// Each response changes one session, from several connections at once.
    OneSession,
    /// Each response changes another of many sessions.
    ManySessions,
    /// A response makes a session, and the next one ends it.
    CreateAndEnd,
}

impl Arm {
    pub(crate) const ALL: [Self; 7] = [
        Self::Without,
        Self::NoHandle,
        Self::NoCommand,
        Self::SameAgain,
        Self::OneSession,
        Self::ManySessions,
        Self::CreateAndEnd,
    ];

    /// Its name in the report.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Without => "no ext_proc",
            Self::NoHandle => "ext_proc, no handle",
            Self::NoCommand => "ext_proc, no command",
            Self::SameAgain => "update without a change",
            Self::OneSession => "update of one session",
            Self::ManySessions => "update of many sessions",
            Self::CreateAndEnd => "create and end",
        }
    }

    /// The path of its requests. The shipped Envoy file has ext_proc on below `/login`, `/logout` and `/cart`, and off
    /// elsewhere.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Without => "/orders/7",
            Self::NoHandle => "/cart/terms",
            Self::NoCommand => "/cart/look",
            Self::SameAgain => "/cart/same",
            Self::OneSession | Self::ManySessions => "/cart/add",
            Self::CreateAndEnd => "/login",
        }
    }
}

/// Where [`Arm::CreateAndEnd`] ends what it made.
pub(crate) const LOG_OUT: &str = "/logout";

/// The rules of these paths.
pub(crate) const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: bench, namespace: shop }
spec:
  hosts: [shop.localhost]
  rules:
  - name: plain
    matches: [{ path: { value: /orders } }, { path: { value: /cart/terms } }]
    require: { roles: [customer] }
  - name: cart
    matches: [{ path: { value: /cart } }]
    require: { roles: [customer] }
    session: { writableClaims: [cart] }
  - name: login
    matches: [{ path: { value: /login } }]
    access: Public
    session: { create: true }
  - name: logout
    matches: [{ path: { value: /logout } }]
    session: { end: true }
";
