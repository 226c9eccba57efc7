//! `pagefence doctor`: what of a program, a process or this machine is covered and what not, why, and what to do.
//!
//! It looks only: nothing is started, made or changed. Whether the library can come into a program is asked of the same code
//! that the library asks at exec ([`kernel::obstacle`]).

mod calls;
pub mod diagnosis;
mod files;
mod libraries;
mod machine;
mod names;
mod object;
mod place;
mod process;
mod program;

use kernel::errors;
use std::path::PathBuf;

use policy::{Policy, PolicyError, environment};

use crate::args::DoctorArgs;
use crate::environment::overrides;
use crate::failure::Failure;
use crate::say;

/// Something isn't covered.
const NOT_COVERED: i32 = 1;

pub fn doctor(arguments: &DoctorArgs) -> Result<i32, Failure> {
    let load = |path: &PathBuf| Policy::load(path).map_err(unusable);
    let given = arguments.policy.as_ref().map(load).transpose()?;
    let or_own = |given: Option<Policy>| match given {
        Some(given) => Ok(given.with_overrides(overrides())),
        None => own_policy(),
    };
    let diagnosis = match &arguments.target {
        None => machine::diagnose(&or_own(given)?),
        Some(target) => match number(target) {
            Some(number) => process::diagnose(number?, given)?,
            None => program::diagnose(target, &or_own(given)?)?,
        },
    };
    if arguments.json {
        say::answer(serde_json::to_string(&diagnosis).unwrap_or_default())?;
    } else {
        say::answer(&diagnosis)?;
    }
    Ok(if diagnosis.covered { 0 } else { NOT_COVERED })
}

/// What a program would be under that is started here.
pub fn own_policy() -> Result<Policy, Failure> {
    let own = environment::path_in(environment::POLICY);
    let policy = Policy::chosen(own.as_deref()).map_err(unusable)?;
    Ok(policy.with_overrides(overrides()))
}

/// None: it is the name of a program.
fn number(target: &std::ffi::OsStr) -> Option<Result<u32, Failure>> {
    let text = target
        .to_str()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))?;
    let absent = || Failure::of(&errors::NO_PROCESS, &[&text]);
    Some(text.parse().ok().filter(|n| *n != 0).ok_or_else(absent))
}

fn unusable(error: PolicyError) -> Failure {
    Failure::of(&errors::POLICY_OF_QUESTION, &[&error])
}
