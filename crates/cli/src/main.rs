//! `virnucpro`: the command line. Parses, calls one function of `virnucpro_pipeline`, prints.
#![forbid(unsafe_code)]

mod args;
mod cmd;
mod console;
mod signals;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use signals::Signals;
use terminal::Log;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = Log::start(cli.log_level(), cli.command.wants_screen());
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            console::error(&anyhow::Error::from(error).context("cannot watch for signals"));
            return ExitCode::FAILURE;
        }
    };
    let result = match &cli.command {
        Command::Predict(args) => cmd::predict::run(args, &signals.cancel, &log),
        Command::Translate(args) => cmd::translate::run(args, &signals.cancel, &log),
        Command::Consensus(args) => cmd::consensus::run(args),
        Command::Embed(args) => cmd::embed::run(args, &signals.cancel, &log),
        Command::Classify(args) => cmd::classify::run(args),
        Command::Models(args) => cmd::models::run(args),
        Command::Devices(args) => cmd::devices::run(args),
        Command::Bench(args) => cmd::bench::run(args, &signals.cancel),
        Command::Selftest(args) => cmd::selftest::run(args),
    };
    match (result, signals.exit_code()) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(error), code) => {
            console::error(&error);
            code.unwrap_or(ExitCode::FAILURE)
        }
    }
}
