//! `pagefence run` within another one's supervision: the program runs as it is, for the supervisor makes its calls already.

use crate::args::RunArgs;
use crate::environment::Environment;
use crate::exec::Plan;
use crate::failure::Failure;
use crate::program;
use crate::say::tell;

/// Becomes the program, in the environment that is there; comes back only if that failed.
pub fn run(arguments: &RunArgs) -> Failure {
    tell_of_options(arguments);
    let become_it = || {
        let name = arguments.program()?;
        let path = program::find(name)?;
        Plan::new(path, &arguments.command, Environment::own().strings()?)
    };
    match become_it() {
        Ok(plan) => plan.exec(),
        Err(failure) => failure,
    }
}

/// What was asked for, and is decided by the outer run.
fn tell_of_options(arguments: &RunArgs) {
    let asked = [
        ("--policy", arguments.policy.is_some()),
        ("--table", arguments.table.is_some()),
        ("--observe", arguments.observe),
        ("--isolation", arguments.isolation.is_some()),
        ("--trace", arguments.trace.is_some()),
        ("--log", arguments.log.is_some()),
        ("--summary", arguments.summary),
    ];
    let asked = asked.iter().filter(|(_, is_given)| *is_given);
    let asked: Vec<_> = asked.map(|(name, _)| *name).collect();
    if !asked.is_empty() {
        tell(format_args!(
            "pagefence: a supervisor makes this process's file calls already: the policy and the lock table of the run that \
             started it hold for the program, too, and this run's {} changes nothing",
            asked.join(", ")
        ));
    }
}
