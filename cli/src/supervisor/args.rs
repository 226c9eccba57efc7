//! The arguments of `pagefence supervise`, which `pagefence run` and the library write, and no user.

use std::ffi::OsString;

use clap::Args;

#[derive(Args)]
pub struct SuperviseArgs {
    /// What the program is to find as its first argument
    #[arg(long, value_name = "NAME")]
    pub argv0: Option<OsString>,

    /// This process is the supervisor, of the program of this name and this process
    #[arg(long, num_args = 2, value_names = ["NAME", "PROCESS"])]
    pub serve: Option<Vec<OsString>>,

    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    pub command: Vec<OsString>,
}
