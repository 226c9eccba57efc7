//! `pagefence run`: checks everything, then becomes the program, or waits for it and sums up. What all its processes say
//! once only, under `observe`, they agree on in the summary's memory.

use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

use policy::environment as names;
use summary::Summary;

use crate::args::{RunArgs, Supervise};
use crate::environment::Environment;
use crate::exec::{Plan, c_string};
use crate::failure::Failure;
use crate::leftover::Leftover;
use crate::program::Way;
use crate::report::Report;
use crate::say::{Shown, tell};
use crate::supervise::{self, Ended, Next};
use crate::{library, program, supervisor, within};

pub fn run(arguments: &RunArgs) -> Result<i32, Failure> {
    if kernel::supervised::is_supervised() {
        return Err(within::run(arguments));
    }
    let library = library::find()?;
    let (mut environment, policy) = Environment::new(arguments, &library)?;
    let name = arguments.program()?;
    let path = program::find(name)?;
    let supervise = Supervise::chosen(arguments.supervise)?;
    let becomes = match program::way(&path, &policy, supervise)? {
        Way::Preloaded => Plan::exec,
        Way::Supervised => {
            supervisor::is_possible()?;
            supervisor::become_supervised
        }
    };
    if !arguments.summary && !arguments.observe {
        let plan = Plan::new(path, &arguments.command, environment.strings()?)?;
        return Err(becomes(&plan));
    }
    let counters = Counters::create()?;
    environment.set(names::SUMMARY, counters.file.path());
    let plan = Plan::new(path, &arguments.command, environment.strings()?)?;
    let start = Instant::now();
    let ended = supervise::run(&plan, becomes)?;
    if !arguments.summary {
        drop(counters);
        return Ok(ended.mirror());
    }
    let show = || {
        let report = Report::new(&counters.summary, name, &ended.end, start.elapsed());
        match arguments.json {
            true => tell(report.json()),
            false => tell(&report),
        }
    };
    wait_for_others(&ended, &show);
    show();
    drop(counters);
    Ok(ended.mirror())
}

/// What the program has left behind goes on with its files: daemons.
fn wait_for_others(ended: &Ended, show: &dyn Fn()) {
    // What is about to end, too, is no news.
    let soon = Some(Duration::from_millis(200));
    if !ended.is_waited_for() || !matches!(ended.next(soon), Next::GoesOn) {
        return;
    }
    let others = ended.others();
    let few = others.iter().take(5);
    let names: Vec<String> = few
        .map(|(number, name)| format!("{name} ({number})"))
        .collect();
    let more = if others.len() > names.len() {
        ", ..."
    } else {
        ""
    };
    tell(format_args!(
        "the program has ended, and {}{more} that it started goes on: the summary comes when the last such process has ended; \
         at once with Ctrl-C or SIGTERM to {}; as it stands, with SIGUSR1",
        names.join(", "),
        std::process::id()
    ));
    loop {
        match ended.next(None) {
            Next::AllEnded | Next::Enough => return,
            Next::Look => show(),
            Next::GoesOn => {}
        }
    }
}

/// The shared file of one run, gone at its end.
struct Counters {
    file: Leftover,
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
                Ok(summary) => {
                    let file = Leftover::of(path);
                    return Ok(Counters { file, summary });
                }
                Err(rustix::io::Errno::EXIST) if attempt < 100 => attempt += 1,
                Err(error) => {
                    let advice = match error {
                        rustix::io::Errno::FBIG => {
                            "run without --summary, or raise the limit on file sizes (RLIMIT_FSIZE, ulimit -f)"
                        }
                        _ => "run without --summary, or free space there",
                    };
                    return Err(Failure::own(
                        format!("can't make the summary's file {}: {error}", path.shown()),
                        advice,
                    ));
                }
            }
        }
    }
}
