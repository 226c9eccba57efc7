//! `pagefence run`: checks everything, then becomes the program, or waits for it and sums up.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use policy::environment as names;
use summary::Summary;

use crate::args::RunArgs;
use crate::environment::Environment;
use crate::exec::{Plan, c_string};
use crate::failure::Failure;
use crate::report::Report;
use crate::say::tell;
use crate::{library, program, supervise};

pub fn run(arguments: &RunArgs) -> Result<i32, Failure> {
    let library = library::find()?;
    let (mut environment, policy) = Environment::new(arguments, &library)?;
    let name = arguments
        .command
        .first()
        .ok_or_else(|| Failure::own("no program is given", "pagefence run -- PROGRAM ARGUMENTS"))?;
    let path = program::find(name)?;
    program::check(&path, &policy)?;
    if !arguments.summary {
        let plan = Plan::new(path, &arguments.command, environment.strings()?)?;
        return Err(plan.exec());
    }
    let counters = Counters::create()?;
    environment.set(names::SUMMARY, &counters.path);
    let plan = Plan::new(path, &arguments.command, environment.strings()?)?;
    let start = Instant::now();
    let end = supervise::run(&plan)?;
    let report = Report::new(&counters.summary, name, &end, start.elapsed());
    drop(counters);
    if arguments.json {
        tell(report.json());
    } else {
        tell(&report);
    }
    Ok(end.mirror())
}

/// The shared file of one run, gone at its end.
struct Counters {
    path: PathBuf,
    summary: Summary,
}

impl Counters {
    fn create() -> Result<Counters, Failure> {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let process = std::process::id();
        let mut attempt = 0_u32;
        loop {
            // An earlier process of this number may have been killed and left its file.
            let path = directory.join(format!("pagefence-summary-{process}-{attempt}"));
            let c_path: CString = c_string(path.as_os_str())?;
            match Summary::create(&c_path) {
                Ok(summary) => return Ok(Counters { path, summary }),
                Err(rustix::io::Errno::EXIST) if attempt < 100 => attempt += 1,
                Err(error) => {
                    let advice = match error {
                        rustix::io::Errno::FBIG => {
                            "run without --summary, or raise the limit on file sizes (RLIMIT_FSIZE, ulimit -f)"
                        }
                        _ => "run without --summary, or free space there",
                    };
                    return Err(Failure::own(
                        format!("can't make the summary's file {}: {error}", path.display()),
                        advice,
                    ));
                }
            }
        }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
