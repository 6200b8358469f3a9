//! What the chart renders, given to real control planes that drive a stock Envoy. Needs root, for networks of its own.

mod envoy_gateway;
mod sidecar;
mod town;
