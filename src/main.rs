//! naptun: a tunnel endpoint that is not there until it is needed.

use std::process::ExitCode;

fn main() -> ExitCode {
    naptun::run()
}
