//! What it costs to have a trace: the calls of `io-cost`, fenced, with a trace of what comes of use in two modes, with one
//! of all calls, and without; and under `strace -f`, which traces by other means. Each way in turn, and each through the run
//! without a trace of its round.

use crate::Common;
use crate::about::About;
use crate::io::{Args, IO, Output, chosen};
use crate::report;
use crate::statistics::Spread;
use pagefence_tests::artefacts;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::Place;
use pagefence_tests::run::run;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const WITHOUT: &str = "fenced";
const MIXED: &str = "mixed events";
const ALL: &str = "all calls";
const STRACE: &str = "strace";
const WAYS: [&str; 4] = [WITHOUT, MIXED, ALL, STRACE];
/// What each way may cost at most.
const TARGETS: [(&str, f64); 2] = [(MIXED, 1.02), (ALL, 1.10)];
const CALLS: [&str; 4] = ["pread-4k", "pread-64k", "pwrite-4k", "read-4k"];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    filesystem: String,
    name: String,
    /// Nanoseconds by way, round by round.
    runs_ns: BTreeMap<String, Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Results {
    figures: Vec<Figure>,
}

impl Figure {
    fn runs(&self, way: &str) -> &[f64] {
        self.runs_ns.get(way).map_or(&[], Vec::as_slice)
    }

    /// How many times as long as without a trace, within a round.
    fn times(&self, way: &str) -> Option<Spread> {
        let pairs = self.runs(way).iter().zip(self.runs(WITHOUT));
        Spread::of(pairs.map(|(way, without)| way / without))
    }
}

pub fn measure(args: &Args) -> Result<(), String> {
    let (common, places) = (&args.common, chosen(&args.filesystem)?);
    let about = About::begin("traces", common, Some(common.time), &places)?;
    println!("{}", about.machine);
    let mut figures = Vec::new();
    for place in places {
        let measured = on(&place, common)?;
        print(&place, &measured);
        figures.extend(measured);
    }
    report::close(about, Results { figures }, common.json.as_deref())
}

fn print(place: &Place, figures: &[Figure]) {
    println!(
        "\n{}: times as long as fenced without a trace\n{:14}{:>12}{MIXED:>16}{ALL:>16}{STRACE:>16}",
        place.name, "", "fenced, ns"
    );
    for figure in figures {
        let times = |way: &str| {
            let target = TARGETS.iter().find(|(name, _)| *name == way);
            let Some(spread) = figure.times(way) else {
                return format!("{:>16}", "-");
            };
            let misses = target.is_some_and(|(_, most)| spread.median > *most);
            let shown = format!("{:.2}{}", spread.median, if misses { " !" } else { "" });
            format!("{shown:>16}")
        };
        let without = Spread::of(figure.runs(WITHOUT).iter().copied());
        let without = without.map_or("-".to_owned(), |ns| report::short(ns.median, ""));
        let all: String = WAYS[1..].iter().map(|way| times(way)).collect();
        println!("{:14}{without:>12}{all}", figure.name);
    }
}

fn on(place: &Place, common: &Common) -> Result<Vec<Figure>, String> {
    let wanted =
        |name: &&str| common.figure.is_empty() || common.figure.iter().any(|f| f.as_str() == *name);
    let names: Vec<&str> = CALLS.into_iter().filter(wanted).collect();
    let new = |name: &&str| Figure {
        filesystem: place.name.clone(),
        name: (*name).to_owned(),
        runs_ns: BTreeMap::new(),
    };
    let mut figures: Vec<Figure> = names.iter().map(new).collect();
    for round in 1..=common.rounds {
        eprintln!("{}: round {round} of {}", place.name, common.rounds);
        for way in WAYS {
            let costs = once(place, way, &names, common.time)?.figures;
            for figure in &mut figures {
                let cost = costs.iter().find(|cost| cost.name == figure.name);
                if let Some(ns) = cost.and_then(|cost| cost.ns) {
                    figure.runs_ns.entry(way.to_owned()).or_default().push(ns);
                }
            }
        }
    }
    Ok(figures)
}

fn once(place: &Place, way: &str, figures: &[&str], time: u64) -> Result<Output, String> {
    let fence = match way {
        ALL => Some(Fence::with_policy("[defaults]\ntrace = \"all\"\n")),
        STRACE => None,
        _ => Some(Fence::new()),
    };
    let (directory, app) = (place.directory(), artefacts::app(IO)?);
    let mut command = match fence {
        Some(_) => Command::new(app),
        None => {
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null"]).arg(app);
            command
        }
    };
    command.arg(directory.path());
    command.args(["--time", &time.to_string()]);
    for name in figures {
        command.args(["--only", name]);
    }
    match (&fence, way) {
        (Some(fence), WITHOUT) => fence.apply(&mut command),
        (Some(fence), _) => fence.apply_traced(&mut command),
        (None, _) => {}
    }
    let outcome = run(&mut command, Duration::from_secs(300)).map_err(|e| e.to_string())?;
    if outcome.hang.is_some() || outcome.code() != 0 {
        return Err(format!("{command:?}: {}", outcome.report()));
    }
    if way == ALL && fence.is_some_and(|fence| !fence.has_told("call")) {
        return Err(format!("{command:?}: nothing was recorded"));
    }
    serde_json::from_str(&outcome.stdout).map_err(|e| format!("{e}: {}", outcome.stdout))
}
