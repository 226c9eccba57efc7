//! What `route = "direct"` costs a program that reads or writes one file from its beginning to its end: `dd`, bare with
//! nothing of the file in the page cache, and past it, in turn.

use crate::about::About;
use crate::io::{Args, chosen};
use crate::report;
use crate::statistics::Series;
use pagefence_tests::fence::{Fence, PAST, apply};
use pagefence_tests::places::Place;
use pagefence_tests::run::run;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SIZES: [(&str, usize); 5] = [
    ("4k", 4 << 10),
    ("64k", 64 << 10),
    ("128k", 128 << 10),
    ("1m", 1 << 20),
    ("10000", 10_000),
];
const FILE: usize = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub filesystem: String,
    pub name: String,
    /// Nanoseconds for each call of `dd`, bare and past the cache.
    pub ns: Series,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub figures: Vec<Figure>,
}

pub fn measure(args: &Args) -> Result<(), String> {
    let places = chosen(&args.filesystem)?;
    let about = About::begin("past", &args.common, None, &places)?;
    println!(
        "{}\n\n{:11} {:12} {:>10} {:>10} {:>7}",
        about.machine, "", "us per call", "bare", "past", "times"
    );
    let mut figures = Vec::new();
    for place in places {
        for (what, (size, bytes)) in [false, true]
            .into_iter()
            .flat_map(|w| SIZES.map(|s| (w, s)))
        {
            let name = format!("{}-{size}", if what { "write" } else { "read" });
            if !args.common.figure.is_empty() && !args.common.figure.contains(&name) {
                continue;
            }
            let mut series = Series::default();
            for _ in 0..args.common.rounds {
                let one = |fence: Option<&Fence>| once(&place, what, bytes, fence);
                series.push(
                    Some(one(None)?),
                    Some(one(Some(&Fence::with_policy(PAST)))?),
                );
            }
            let summary = series.summary().ok_or("nothing was measured")?;
            let (bare, past) = (summary.bare_ns.median, summary.fenced_ns.median);
            println!(
                "{:11} {name:12} {:10.1} {:10.1} {:7.2}",
                place.name,
                bare / 1000.0,
                past / 1000.0,
                summary.ratio.median
            );
            let filesystem = place.name.clone();
            figures.push(Figure {
                filesystem,
                name,
                ns: series,
            });
        }
    }
    report::close(about, Results { figures }, args.common.json.as_deref())
}

/// Nanoseconds for each call.
fn once(place: &Place, write: bool, bytes: usize, fence: Option<&Fence>) -> Result<f64, String> {
    let dir = place.directory();
    let file = dir.path().join("f");
    cold(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command = Command::new("dd");
    command
        .current_dir(dir.path())
        .args(["status=none", &format!("bs={bytes}")]);
    match write {
        true => command.args(["if=/dev/zero", "of=f", "conv=notrunc,fsync"]),
        false => command.args(["if=f", "of=/dev/null"]),
    };
    let calls = FILE / bytes;
    command.arg(format!("count={calls}"));
    apply(fence, &mut command);
    let begin = Instant::now();
    let outcome = run(&mut command, Duration::from_secs(300)).map_err(|e| e.to_string())?;
    let took = begin.elapsed();
    match outcome.code() {
        0 => Ok(took.as_nanos() as f64 / calls as f64),
        _ => Err(format!("{command:?}: {}", outcome.report())),
    }
}

/// The file, and nothing of it in the page cache.
fn cold(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![b'.'; FILE])?;
    file.sync_all()?;
    // SAFETY: a call with numbers.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    Ok(())
}
