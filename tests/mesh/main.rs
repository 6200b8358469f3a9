//! What the chart renders, given to real control planes that drive a stock Envoy. Needs root, for networks of its own.

mod envoy_gateway;
mod gateway;
mod shared_gate;
mod sidecar;
mod town;
mod waypoint;

/// A test in a network of its own, with this version of Envoy.
macro_rules! on_istio {
    ($($(#[$about:meta])* $name:ident => $work:ident($version:ident);)*) => {$(
        $(#[$about])*
        #[test]
        fn $name() {
            $crate::town::prepare().and_then(|()| e2e::network::alone(|| $work(EnvoyVersion::$version))).unwrap();
        }
    )*};
}

pub(crate) use on_istio;
