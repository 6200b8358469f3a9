//! The `cloakroom` command.

use clap::Parser as _;

/// Small, many and short-lived allocations from one or two threads: measured against the system's in docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cloakroom::cli::run(cloakroom::cli::Cli::parse())
}
