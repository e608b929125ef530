//! `completions` and `man`: what is generated from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;
use helios_engine::ops::{Class, Failure};

use crate::cli::args::Cli;
use crate::cli::exit::Exit;
use crate::cli::session::{Session, Stop};

pub fn completions(session: &mut Session, shell: clap_complete::Shell) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "helios", &mut script);
    session.output.bytes(&script)?;
    Ok(Exit::Success)
}

pub fn man(session: &mut Session, directory: &Path) -> Result<Exit, Stop> {
    let failed = |error: std::io::Error| {
        Stop::Failed(Failure::new(
            Class::Io,
            format!("write man pages to {}: {error}", directory.display()),
        ))
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory).map_err(failed)?;
    session.output.remark(format!(
        "wrote helios.1 and a page for each command to {}",
        directory.display()
    ))?;
    Ok(Exit::Success)
}
