//! The `bench` binary: `bench` alone, `bench load`, `bench compare`, `bench scaling` and `bench model`.

use std::process::ExitCode;

use bench::args::{Request, USAGE};
use bench::{Fatal, canonical, compare, fatal, load, model, scaling};

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
        Request::Canonical(address) => print!("{}", canonical::run(address.as_ref())?),
        Request::Load(options) => {
            let report = load::run_with_files(&options)?;
            print!("{report}");
            if report.wrong > 0 {
                return fatal(format!("{} replies were wrong", report.wrong));
            }
        }
        Request::Compare(options) => print!("{}", compare::run(&options)?),
        Request::Scaling(options) => print!("{}", scaling::run(&options)?),
        Request::Model(options) => print!("{}", model::run(&options)),
    }
    Ok(())
}
