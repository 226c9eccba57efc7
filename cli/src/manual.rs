//! `pagefence manual`: man pages and shell completions, made of what `--help` says, for packages and `scripts/install-system`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, OWN_FAILURE};
use crate::say::{Shown, answer};

pub const MANUAL_ABOUT: &str = "\
Write the man pages and the shell completions into a folder.

They say what --help says. Below FOLDER: man1 (a page for each command), bash, zsh and fish.";

pub const MANUAL_MORE: &str = "\
EXAMPLES:
  Read them without installing anything:
      pagefence manual /tmp/pagefence && man -l /tmp/pagefence/man1/pagefence-run.1
  Completions for the shell that runs:
      source /tmp/pagefence/bash/pagefence

EXIT CODES:
  0    written
  125  the folder can't be written to";

#[derive(Args)]
pub struct ManualArgs {
    /// Made if it is missing; what is there of these names is replaced
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

pub fn manual(arguments: &ManualArgs) -> Result<i32, Failure> {
    let folder = &arguments.folder;
    write(folder).map_err(|error| {
        let message = format!("{}: {error}", folder.shown());
        Failure::new(OWN_FAILURE, message, "name a folder that can be written to")
    })?;
    answer(format_args!("{}: man1, bash, zsh, fish", folder.shown()))?;
    Ok(0)
}

fn write(folder: &Path) -> io::Result<()> {
    let below = |name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map(|()| path)
    };
    clap_mangen::generate_to(Cli::command(), below("man1")?)?;
    // The names under which each shell looks for them.
    for (shell, place, name) in [
        (Shell::Bash, "bash", "pagefence"),
        (Shell::Zsh, "zsh", "_pagefence"),
        (Shell::Fish, "fish", "pagefence.fish"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "pagefence", &mut text);
        std::fs::write(below(place)?.join(name), text)?;
    }
    Ok(())
}
