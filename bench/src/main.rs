//! The `bench` binary: `bench load` and `bench compare`.

use std::process::ExitCode;

use bench::args::{Request, USAGE};
use bench::{Fatal, compare, load};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Fatal> {
    match Request::parse(std::env::args_os().skip(1))? {
        Request::Help => print!("{USAGE}"),
        Request::Load(options) => print!("{}", load::run(&options)?),
        Request::Compare(options) => print!("{}", compare::run(&options)?),
    }
    Ok(())
}
