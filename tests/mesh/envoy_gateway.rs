//! Envoy Gateway's own control plane, with the objects that the chart renders.

mod beside;
mod objects;
mod shared;
mod square;
mod translated;
