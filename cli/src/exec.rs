//! Becoming the program: execve(2), with its signal mask and dispositions left as they are.
//! (`std::process::Command` would reset both.) Past libc's name for it, at which a library that came with us would stand.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;

use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};
use crate::say::Shown;

/// Everything that execve(2) needs, made beforehand.
pub struct Plan {
    program: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Plan {
    pub fn new(
        program: PathBuf,
        arguments: &[OsString],
        environment: Vec<CString>,
    ) -> Result<Plan, Failure> {
        let arguments = arguments.iter().map(|argument| c_string(argument));
        Ok(Plan {
            arguments: arguments.collect::<Result<_, _>>()?,
            program,
            environment,
        })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn environment(&self) -> &[CString] {
        &self.environment
    }

    /// Becomes the program; comes back only if that failed.
    pub fn exec(&self) -> Failure {
        let error = match self.try_exec() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        let message = format!("{} can't be executed: {error}", self.program.shown());
        Failure::new(code, message, "")
    }

    fn try_exec(&self) -> Result<std::convert::Infallible, std::io::Error> {
        let program = CString::new(self.program.as_os_str().as_bytes())?;
        let error = execve(&program, &self.arguments, &self.environment);
        if error.raw_os_error() != Some(libc::ENOEXEC) {
            return Err(error);
        }
        // A file without a #! line goes to the shell, as execvp(3) does it.
        let mut arguments = vec![c"/bin/sh".to_owned(), program];
        arguments.extend(self.arguments.iter().skip(1).cloned());
        Err(execve(c"/bin/sh", &arguments, &self.environment))
    }
}

fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> std::io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    let [program, arguments, environment] = [
        program.as_ptr() as usize,
        arguments.as_ptr() as usize,
        environment.as_ptr() as usize,
    ];
    let words = [program, arguments, environment, 0, 0, 0];
    // SAFETY: both arrays end with a null pointer, and their strings live until the call returns.
    let error = unsafe { kernel::any(libc::SYS_execve as usize, words) };
    std::io::Error::from_raw_os_error(-error as i32)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let pointers = strings.iter().map(|string| string.as_ptr());
    pointers.chain([ptr::null()]).collect()
}

pub fn c_string(text: &OsStr) -> Result<CString, Failure> {
    CString::new(text.to_owned().into_vec())
        .map_err(|_| Failure::own(format!("{} holds a NUL byte", Path::new(text).shown()), ""))
}
