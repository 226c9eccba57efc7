//! The environment in which the program runs: what the options and the variables of their names
//! say, checked and with absolute paths.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use kernel::errors;
use lock_table::{Fault, Geometry, Table, TableError};
use policy::environment as names;
use policy::{Isolation, Mode, Overrides, Policy, PolicyError, Trace};
use rustix::fs::{Access, AtFlags};

use crate::apart;
use crate::args::{IsolationArg, RunArgs};
use crate::exec::c_string;
use crate::failure::Failure;
use crate::library;
use crate::say::{Shown, tell};

/// Environment variables, as the program will have them, in the order that they came in.
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Our own.
    pub fn own() -> Environment {
        Environment(std::env::vars_os().collect())
    }

    /// Our own environment and what the arguments say on top of it; and the policy that it names.
    pub fn new(arguments: &RunArgs, library: &Path) -> Result<(Environment, Policy), Failure> {
        let mut environment = Environment::own();
        let before = environment.get(library::PRELOAD).map(OsStr::to_owned);
        environment.set(library::PRELOAD, library::preload(library, before));
        // Without it the library looks for the command itself.
        if let Ok(command) = std::env::current_exe() {
            environment.set(names::COMMAND, command);
        }
        let policy = environment.policy(arguments.policy.as_deref())?;
        let table = environment.path(names::TABLE, arguments.table.as_deref())?;
        let is_named = table.is_some() || policy.table().is_some();
        check_table(&policy, table)?;
        if !is_named && !policy.is_off() && apart::tell_of_others(&policy) {
            environment.set(names::APART, "1");
        }
        if let Some(trace) = environment.path(names::TRACE, arguments.trace.as_deref())? {
            check_trace(&trace)?;
        }
        if let Some(filter) = &arguments.log {
            environment.set(names::LOG, filter);
        }
        if let Some(which) = arguments.supervise {
            environment.set(names::SUPERVISE, which.word());
        }
        if arguments.observe {
            environment.set(names::MODE, Mode::Observe.word());
        }
        if arguments.contents {
            environment.set(names::RECORD, Trace::Contents.word());
        }
        if let Some(isolation) = arguments.isolation {
            let isolation = match isolation {
                IsolationArg::Coherent => Isolation::Coherent,
                IsolationArg::Atomic => Isolation::Atomic,
            };
            environment.set(names::ISOLATION, isolation.word());
        }
        if !arguments.json {
            environment.tell_warnings(&policy);
        }
        Ok((environment, policy))
    }

    /// What is right in the policy and perhaps not meant, unless this run says the mode for all.
    fn tell_warnings(&self, policy: &Policy) {
        let mode = self.get(names::MODE).and_then(OsStr::to_str);
        let (overrides, _) = Overrides::from_words(mode, None, None);
        if overrides.mode.is_none() {
            for warning in policy.warnings() {
                tell(warning.as_warning(policy.name()));
            }
        }
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref().to_owned();
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, before)) => *before = value,
            None => self.0.push((name.into(), value)),
        }
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// As execve(2) takes it.
    pub fn strings(self) -> Result<Vec<CString>, Failure> {
        let join = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec())
        };
        self.0
            .into_iter()
            .map(join)
            .collect::<Result<_, _>>()
            .map_err(|_| Failure::own("an option holds a NUL byte", ""))
    }

    /// The policy is parsed before anything runs.
    fn policy(&mut self, option: Option<&Path>) -> Result<Policy, Failure> {
        let named = self.path(names::POLICY, option)?;
        Policy::chosen(named.as_deref()).map_err(|error| invalid_policy(&error))
    }

    /// The program may change its directory: makes the path of an option, or else of its
    /// variable, absolute.
    fn path(&mut self, name: &str, option: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
        let variable = self.get(name).filter(|value| !value.is_empty());
        let Some(given) = option.or(variable.map(Path::new)) else {
            return Ok(None);
        };
        let path = std::path::absolute(given)
            .map_err(|error| Failure::own(format!("{}: {error}", given.shown()), ""))?;
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(Failure::own(format!("{name} holds a NUL byte"), ""));
        }
        self.set(name, &path);
        Ok(Some(path))
    }
}

pub fn invalid_policy(error: &PolicyError) -> Failure {
    let count = error.diagnostics.len();
    let plural = if count == 1 { "error" } else { "errors" };
    Failure::of(&errors::POLICY, &[&error.file, &count, &plural, &error])
}

/// A table that somebody named must be one, or become one: made here, it is there for all that the program starts. At
/// the default place the first fenced program makes it.
fn check_table(policy: &Policy, named: Option<PathBuf>) -> Result<(), Failure> {
    if policy.is_off() {
        return Ok(());
    }
    let Some(path) = named.or_else(|| policy.table().map(Path::to_owned)) else {
        return Ok(());
    };
    let path = c_string(path.as_os_str())?;
    let unusable = |error: &TableError| Failure::own(error.to_string(), "nothing was run");
    match Table::inspect(&path) {
        Ok(_) => return Ok(()),
        Err(error) if error.fault() == Fault::Missing => {}
        Err(error) => return Err(unusable(&error)),
    }
    match Table::create(&path, &Geometry::default()) {
        Ok(()) => Ok(()),
        Err(error) if error.fault() == Fault::Exists => Ok(()),
        Err(error) => Err(unusable(&error)),
    }
}

/// A folder that can be written to, or that can be made: as the library takes it.
fn check_trace(path: &Path) -> Result<(), Failure> {
    let unusable = |reason: &dyn std::fmt::Display| {
        Failure::of(&errors::TRACE_NOT_WRITTEN, &[&path.shown(), reason])
    };
    match std::fs::metadata(path) {
        Ok(there) if there.is_file() => {
            return Err(Failure::of(&errors::TRACE_IS_A_FILE, &[&path.shown()]));
        }
        Ok(there) if !there.is_dir() => {
            return Err(unusable(&"it is not a folder"));
        }
        Ok(_) => {}
        Err(_) => std::fs::create_dir(path).map_err(|e| unusable(&e))?,
    }
    let of_kernel = rustix::fs::statfs(path).is_ok_and(|found| {
        policy::is_kernel_filesystem(policy::filesystem_name(found.f_type as u64))
    });
    if of_kernel {
        return Err(unusable(&"nothing can be kept there"));
    }
    let (write, at) = (Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    rustix::fs::accessat(rustix::fs::CWD, path, write, at).map_err(|error| unusable(&error))
}

/// For `policy explain`: the overrides that the environment holds, as the library reads them.
pub fn overrides() -> Overrides {
    let word = |name: &str| std::env::var(name).ok();
    let (overrides, unknown) = Overrides::from_words(
        word(names::MODE).as_deref(),
        word(names::ISOLATION).as_deref(),
        word(names::RECORD).as_deref(),
    );
    if let Some(variable) = unknown {
        tell(format_args!(
            "pagefence: {variable} is set to an unknown word, which changes nothing"
        ));
    }
    overrides
}
