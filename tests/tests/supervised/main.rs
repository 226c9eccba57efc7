//! Programs that no preload can enter (static ones, Go's) under a supervisor: what they do with files beside fenced programs,
//! that they see nothing of it, and what it costs.

mod alike;
mod beside;
mod costs;
mod killed;

use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, found};
use std::path::Path;
use std::process::Command;

/// `pagefence run` of a program, in a fence that isn't around the command itself.
fn supervised(fence: &Fence, program: &Path) -> Command {
    let mut command = Command::new(found(artefacts::command()));
    command.args(["run", "--"]).arg(program);
    fence.apply_traced(&mut command);
    command.env_remove("LD_PRELOAD");
    command
}
