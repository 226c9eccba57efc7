//! What else could be put around a program, beside Pagefence: the calls of `io-cost`, each way in turn, and each through the
//! bare run of its round.

use crate::Common;
use crate::about::About;
use crate::io::{Args, IO, Output, chosen};
use crate::report;
use crate::statistics::Spread;
use pagefence_tests::artefacts;
use pagefence_tests::fence::{Fence, ROUTED};
use pagefence_tests::places::Place;
use pagefence_tests::run::run;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Bare,
    /// A library that does nothing is preloaded.
    PassThrough,
    Fenced,
    /// By policy everything goes through the page cache.
    Buffered,
    /// The program takes locks of its own.
    Locks,
    Strace,
    /// A supervisor makes its calls.
    Supervised,
}

pub const WAYS: [(Way, &str); 7] = [
    (Way::Bare, "bare"),
    (Way::PassThrough, "pass-through"),
    (Way::Fenced, "fenced"),
    (Way::Buffered, "buffered"),
    (Way::Locks, "locks"),
    (Way::Strace, "strace"),
    (Way::Supervised, "supervised"),
];

/// What the library has no part in.
const CALLS: [&str; 8] = [
    "pread-4k",
    "pread-64k",
    "pwrite-4k",
    "pwrite-64k",
    "read-4k",
    "direct-write-4k",
    "direct-read-4k",
    "direct-write-mapped-4k",
];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub filesystem: String,
    pub name: String,
    pub mixed: bool,
    /// Nanoseconds by way, round by round.
    runs_ns: BTreeMap<String, Vec<f64>>,
}

impl Figure {
    pub fn bare_ns(&self) -> Option<Spread> {
        Spread::of(self.runs_ns.get("bare")?.iter().copied())
    }

    /// How many times as long as bare, within a round.
    pub fn times(&self, way: &str) -> Option<Spread> {
        let pairs = self.runs_ns.get(way)?.iter().zip(self.runs_ns.get("bare")?);
        Spread::of(pairs.map(|(way, bare)| way / bare))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub figures: Vec<Figure>,
}

pub fn measure(args: &Args) -> Result<(), String> {
    let (common, places) = (&args.common, chosen(&args.filesystem)?);
    let about = About::begin("peers", common, Some(common.time), &places)?;
    println!("{}", about.machine);
    let mut figures = Vec::new();
    for place in places {
        for mixed in [false, true] {
            let measured = on(&place, mixed, common)?;
            print(&place, mixed, &measured);
            figures.extend(measured);
        }
    }
    report::close(about, Results { figures }, common.json.as_deref())
}

fn print(place: &Place, mixed: bool, figures: &[Figure]) {
    let use_of = if mixed {
        "one file in mixed use"
    } else {
        "a file for each mode"
    };
    let names: String = WAYS[1..]
        .iter()
        .map(|(_, name)| format!("{name:>13}"))
        .collect();
    println!(
        "\n{}, {use_of}: times as long\n{:24}{:>10}{names}",
        place.name, "", "bare, ns"
    );
    for figure in figures {
        let times = |(_, name): &(Way, &str)| match figure.times(name) {
            Some(spread) => format!("{:13.2}", spread.median),
            None => format!("{:>13}", "-"),
        };
        let bare = figure
            .bare_ns()
            .map_or("-".to_owned(), |ns| report::short(ns.median, ""));
        let all: String = WAYS[1..].iter().map(times).collect();
        println!("{:24}{bare:>10}{all}", figure.name);
    }
}

fn on(place: &Place, mixed: bool, common: &Common) -> Result<Vec<Figure>, String> {
    let wanted =
        |name: &&str| common.figure.is_empty() || common.figure.iter().any(|f| f.as_str() == *name);
    let names: Vec<&str> = CALLS.into_iter().filter(wanted).collect();
    // By figure and way: nanoseconds, round by round.
    let mut all: BTreeMap<(String, &str), Vec<f64>> = BTreeMap::new();
    for round in 1..=common.rounds {
        eprintln!("{}: round {round} of {}", place.name, common.rounds);
        for (way, name) in WAYS {
            for cost in once(place, way, mixed, &names, common.time)?.figures {
                if let Some(ns) = cost.ns {
                    all.entry((cost.name, name)).or_default().push(ns);
                }
            }
        }
    }
    let mut figure = |name: &&str| {
        let runs = WAYS.iter().filter_map(|(_, way)| {
            let runs = all.remove(&((*name).to_owned(), *way))?;
            Some(((*way).to_owned(), runs))
        });
        Figure {
            filesystem: place.name.clone(),
            name: (*name).to_owned(),
            mixed,
            runs_ns: runs.collect(),
        }
    };
    Ok(names.iter().map(&mut figure).collect())
}

fn once(
    place: &Place,
    way: Way,
    mixed: bool,
    figures: &[&str],
    time: u64,
) -> Result<Output, String> {
    let (directory, fence) = (place.directory(), fence_of(way));
    let app = artefacts::app(IO)?;
    let mut command = match way {
        Way::Strace => {
            let mut command = Command::new("strace");
            command.args(["-f", "-c", "-o", "/dev/null"]).arg(app);
            command
        }
        Way::Supervised => {
            let mut command = Command::new(artefacts::command()?);
            command
                .args(["run", "--supervise", "always", "--"])
                .arg(app);
            command
        }
        _ => Command::new(app),
    };
    command
        .arg(directory.path())
        .args(["--time", &time.to_string()]);
    figures.iter().for_each(|name| {
        command.args(["--only", name]);
    });
    match way {
        Way::PassThrough => {
            command.env("LD_PRELOAD", artefacts::pass_through()?);
        }
        Way::Locks => {
            command.arg("--locks");
        }
        Way::Bare | Way::Fenced | Way::Buffered | Way::Strace | Way::Supervised => {}
    }
    if mixed {
        command.arg("--mixed");
    }
    if let Some(fence) = &fence {
        fence.apply(&mut command);
    }
    let outcome = run(&mut command, Duration::from_secs(300)).map_err(|e| e.to_string())?;
    if outcome.hang.is_some() || outcome.code() != 0 || outcome.stderr.contains("LD_PRELOAD") {
        return Err(format!("{command:?}: {}", outcome.report()));
    }
    if fence.is_some_and(|fence| !fence.table().exists()) {
        return Err(format!("{command:?}: it wasn't fenced"));
    }
    serde_json::from_str(&outcome.stdout).map_err(|e| format!("{e}: {}", outcome.stdout))
}

fn fence_of(way: Way) -> Option<Fence> {
    match way {
        Way::Fenced | Way::Supervised => Some(Fence::new()),
        Way::Buffered => Some(Fence::with_policy(ROUTED)),
        Way::Bare | Way::PassThrough | Way::Locks | Way::Strace => None,
    }
}
