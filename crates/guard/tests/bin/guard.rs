//! The guard as a program of its own, for this crate's tests. Users run it as a hidden verb of `dauphin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dauphin_guard::run_as(&[], std::env::args_os().skip(1))
}
