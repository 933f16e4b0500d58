//! naptun: a tunnel endpoint that is not there until it is needed.

use std::process::ExitCode;

use naptun::os::wiping::Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

fn main() -> ExitCode {
    naptun::run()
}
