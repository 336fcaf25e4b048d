//! The `sluicegate` binary. Everything it does is in the library beside it.

use std::process::ExitCode;

/// Many threads make and drop many small values, which the system's allocators do slowly, musl's most of all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluicegate_cli::run(std::env::args_os())
}
