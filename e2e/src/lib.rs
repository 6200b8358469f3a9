//! The real parts that tests, the demo and the benchmarks run.
