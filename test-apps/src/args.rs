//! The command line that all test programs have in common.

use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Command, FromArgMatches, ValueEnum};
use std::os::fd::RawFd;
use std::path::PathBuf;

const AFTER: &str = "\
Prints as its last line `anomalies=N persistent=N ops=N seconds=S`; before it, what the first anomalies were.
`persistent` counts those that are still wrong when the data is read back from the device.

EXIT CODES
  0  no anomalies
  1  anomalies
  2  it could not be set up, or a system call failed (stderr says which)
  3  hang: its processes made no progress for 60 seconds
  77 it makes no sense on this filesystem (stderr says why)";

/// What a control run does instead of mixing modes; the oracle must find nothing then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Control {
    /// Nothing is opened with O_DIRECT.
    Buffered,
    /// Modes are mixed, but every operation waits for its turn (a lock of the program's own).
    Serial,
}

#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Directory to work in: a fresh subdirectory is made, and removed at the end
    pub dir: PathBuf,
    /// How long to run
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Start of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Kill the program's own worker processes at random (SIGKILL) and start new ones
    #[arg(long)]
    pub kills: bool,
    /// Control run, to check the oracle: 0 anomalies are expected
    #[arg(long, value_enum, value_name = "KIND")]
    pub control: Option<Control>,
    /// Do everything in this one of the ways that it draws from otherwise
    #[arg(long, value_name = "WAY")]
    pub way: Option<String>,
    /// The descriptor of the shared board, for a program that executes itself again
    #[arg(long, hide = true)]
    pub resume: Option<RawFd>,
}

impl Args {
    pub fn parse(name: &'static str, about: &'static str) -> Args {
        Args::parse_with(name, about, Vec::new())
    }

    /// Of a program that has several ways.
    pub fn parse_with(name: &'static str, about: &'static str, ways: Vec<&'static str>) -> Args {
        let none = ways.is_empty();
        let ways = PossibleValuesParser::new(ways);
        let command = Command::new(name).about(about).after_help(AFTER);
        let matches = Args::augment_args(command)
            .mut_arg("way", |arg| arg.value_parser(ways).hide(none))
            .get_matches();
        Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}
