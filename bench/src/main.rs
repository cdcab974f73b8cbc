//! The `bench` binary: `bench load`, `bench compare`, `bench scaling` and `bench model`.

use std::process::ExitCode;

use bench::args::{Request, USAGE};
use bench::{Fatal, compare, load, model, scaling};

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
        Request::Load(options) => print!("{}", load::run_with_files(&options)?),
        Request::Compare(options) => print!("{}", compare::run(&options)?),
        Request::Scaling(options) => print!("{}", scaling::run(&options)?),
        Request::Model(options) => print!("{}", model::run(&options)),
    }
    Ok(())
}
