//! `pagefence tabled --background` and `--stop`: the service as another process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{NOT_HAD, beside, failed, is_free_within, kept};
use crate::failure::Failure;
use crate::say::{Shown, answer, tell};

/// It has nothing to do when it ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the same command without that word, in a session of its own. Its first line says that the table can be had.
pub fn background() -> Result<i32, Failure> {
    let own = |error: std::io::Error| Failure::new(NOT_HAD, error.to_string(), "");
    let program = std::env::current_exe().map_err(own)?;
    let mut service = Command::new(program);
    service.args(
        std::env::args_os()
            .skip(1)
            .filter(|word| word != "--background"),
    );
    // Its errors come through this process: who waits for the end of them isn't kept waiting by the service.
    service
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: setsid is a system call that allocates nothing.
    unsafe { service.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    let mut service = service.spawn().map_err(own)?;
    let mut line = String::new();
    if let Some(out) = service.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(own)?;
    }
    if line.is_empty() {
        let ended = service.wait_with_output().map_err(own)?;
        tell(String::from_utf8_lossy(&ended.stderr));
        return Ok(ended.status.code().unwrap_or(NOT_HAD));
    }
    answer(line.trim_end())?;
    Ok(0)
}

/// Nobody else is hit: the service that is meant has the lock for as long as it lives.
pub fn stop(path: &Path) -> Result<i32, Failure> {
    let none = |message: &str| failed(path, message, "nothing was stopped");
    let name = beside(path, ".lock");
    let lock = match File::open(&name) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(none("no service has handed out a table there"));
        }
        Err(error) => return Err(failed(&name, &error.to_string(), "or ask as root")),
    };
    if is_free_within(&lock, Duration::ZERO) {
        return Err(none("no service runs there"));
    }
    let words = kept::words(&lock).unwrap_or_default();
    let number = words.get(2).and_then(|number| i32::try_from(*number).ok());
    let service = number
        .and_then(Pid::from_raw)
        .ok_or_else(|| none("who hands it out isn't known"))?;
    kill_process(service, Signal::TERM).map_err(|error| none(&error.to_string()))?;
    if !is_free_within(&lock, PATIENCE) {
        return Err(failed(
            path,
            &format!("process {} doesn't end", service.as_raw_pid()),
            "kill -9 it: those who are in the table stay in it",
        ));
    }
    answer(format!("{}: no longer handed out", path.shown()))?;
    Ok(0)
}
