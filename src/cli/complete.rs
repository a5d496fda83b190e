//! `whit completions` and `whit man`: what clap's companions make of the arguments.

use super::args::{Cli, Completions, Man};
use super::output::{Outcome, Output};
use clap::{Command, CommandFactory};
use std::fs;
use std::path::Path;
use whit::error::{Error, Kind, Result};

pub(super) fn completions(args: &Completions) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "whit", &mut script);
    let mut out = Output::new();
    out.write(&String::from_utf8_lossy(&script))?;
    out.flush()
}

pub(super) fn man(args: &Man) -> Outcome<()> {
    let mut cli = Cli::command();
    cli.build();
    page(&cli, "whit", &args.dir)?;
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        page(command, &format!("whit-{}", command.get_name()), &args.dir)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, dir: &Path) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    let failed =
        |error: std::io::Error| Error::new(Kind::Create, error.to_string()).in_file(path.display().to_string());
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut text).map_err(failed)?;
    fs::write(&path, text).map_err(failed)
}
