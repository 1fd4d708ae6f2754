//! `leasehold-chaos`: runs seeds and plans, and says what they showed.

use std::process::ExitCode;

use clap::Parser;

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
    match arguments.carry_out() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("harness failure: {error:#}");
            ExitCode::from(3)
        }
    }
}
