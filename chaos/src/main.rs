//! `leasehold-chaos`: runs seeds and plans, and says what they showed.

use std::process::ExitCode;

use clap::Parser;
use leasehold_chaos::mutants;

mod cli;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wrong = error.use_stderr();
            // Nobody reads it if it cannot be printed.
            drop(error.print());
            return ExitCode::from(if wrong { 64 } else { 0 });
        }
    };
    // Once, before anything runs: which bug this process is to have.
    if let Ok(id) = std::env::var(mutants::VARIABLE)
        && (mutants::find(&id).is_none() || leasehold_ledger::mutants::plant(&id).is_err())
    {
        eprintln!("harness failure: there is no mutant {id}");
        return ExitCode::from(64);
    }
    match arguments.carry_out() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("harness failure: {error:#}");
            ExitCode::from(3)
        }
    }
}
