//! Runs `io-cost`, or `aio-cost`, bare and fenced in turn on one filesystem.

use crate::about::About;
use crate::instructions::{self, Count};
use crate::statistics::Series;
use crate::{Common, report};
use pagefence_tests::artefacts;
use pagefence_tests::fence::scratch;
use pagefence_tests::places::{Place, places};
use pagefence_tests::run::run;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The filesystems are those in PAGEFENCE_TEST_FILESYSTEMS; see `scripts/filesystems`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Only this filesystem (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub filesystem: Vec<String>,
}

/// The built programs that are measured.
pub struct Tools {
    pub app: PathBuf,
    library: PathBuf,
}

/// What was found, filesystem by filesystem.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub filesystems: Vec<Measured>,
    pub instructions: Option<Vec<Count>>,
}

/// What is measured: its name is that of the program.
pub fn measure(app: &str, args: &Args) -> Result<(), String> {
    let tools = Tools {
        app: artefacts::app(app)?,
        library: artefacts::library()?,
    };
    let common = &args.common;
    let places = chosen(&args.filesystem)?;
    let what = if app == AIO { "aio" } else { "io" };
    let about = About::begin(what, common, Some(common.time), &places)?;
    let mut results = Results::default();
    println!("{}", about.machine);
    for place in &places {
        let measured = measure_on(&tools, place, common)?;
        println!("\n{}", report::table(&measured));
        if let Some(table) = report::sleeps_table(&measured) {
            println!("\n{table}");
        }
        results.filesystems.push(measured);
    }
    if common.instructions {
        // The library's instructions are the same everywhere, but for the checks of direct I/O. Asynchronous ones are
        // counted where none waits for a device: else their number depends on how many come together.
        let no_device = places.iter().find(|p| app == AIO && p.name == "tmpfs");
        let place = no_device.or(places.first()).ok_or("no filesystem")?;
        let counts = instructions::measure(&tools, place, common)?;
        println!("\n{}", report::instruction_table(&counts));
        results.instructions = Some(counts);
    }
    report::close(about, results, common.json.as_deref())
}

pub const IO: &str = "io-cost";
pub const AIO: &str = "aio-cost";

/// What the program prints.
#[derive(Deserialize)]
pub struct Output {
    pub figures: Vec<Cost>,
}

#[derive(Deserialize)]
pub struct Cost {
    pub name: String,
    /// None where the filesystem has no O_DIRECT, or nothing is timed.
    pub ns: Option<f64>,
    /// How often the program's thread went to sleep, per 1,000 requests.
    switches: Option<f64>,
    /// How often any other thread of the process did, per second.
    wakes: Option<f64>,
}

/// All figures of one filesystem, in the order of the program.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub filesystem: String,
    pub figures: Vec<Figure>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub name: String,
    /// Buffered and direct calls have a file each.
    pub one_mode: Series,
    /// One file for both.
    pub mixed: Series,
    pub sleeps: [Sleeps; 2],
}

/// How often threads slept: `switches` and `wakes`, bare and fenced.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleeps {
    pub switches: Series,
    pub wakes: Series,
}

/// How a run is made.
#[derive(Clone, Copy)]
pub struct Kind {
    pub fenced: bool,
    pub mixed: bool,
}

impl Kind {
    fn name(self) -> &'static str {
        match (self.fenced, self.mixed) {
            (false, false) => "bare",
            (true, false) => "fenced",
            (false, true) => "bare, mixed",
            (true, true) => "fenced, mixed",
        }
    }
}

pub fn chosen(only: &[String]) -> Result<Vec<Place>, String> {
    let all = places();
    if let Some(missing) = only.iter().find(|o| !all.iter().any(|p| p.name == **o)) {
        let names: Vec<_> = all.iter().map(|p| p.name.as_str()).collect();
        return Err(format!(
            "no filesystem {missing} here; there are: {}",
            names.join(", ")
        ));
    }
    let wanted = |place: &Place| only.is_empty() || only.contains(&place.name);
    Ok(all.into_iter().filter(wanted).collect())
}

fn measure_on(tools: &Tools, place: &Place, args: &Common) -> Result<Measured, String> {
    for mixed in [false, true] {
        check(tools, place, mixed)?;
    }
    let mut arguments = vec!["--time".to_owned(), args.time.to_string()];
    for figure in &args.figure {
        arguments.extend(["--only".to_owned(), figure.clone()]);
    }
    let mut figures: Vec<Figure> = Vec::new();
    for round in 1..=args.rounds {
        eprintln!("{}: round {round} of {}", place.name, args.rounds);
        for mixed in [false, true] {
            let [bare, fenced] = [false, true].map(|fenced| {
                let kind = Kind { fenced, mixed };
                costs(tools, place, kind, &arguments)
            });
            add(&mut figures, mixed, bare?, fenced?);
        }
    }
    Ok(Measured {
        filesystem: place.name.clone(),
        figures,
    })
}

fn add(figures: &mut Vec<Figure>, mixed: bool, bare: Output, fenced: Output) {
    for (bare, fenced) in bare.figures.into_iter().zip(fenced.figures) {
        let at = figures.iter().position(|f| f.name == bare.name);
        let at = at.unwrap_or_else(|| {
            figures.push(Figure {
                name: bare.name,
                one_mode: Series::default(),
                mixed: Series::default(),
                sleeps: Default::default(),
            });
            figures.len() - 1
        });
        let figure = &mut figures[at];
        let sleeps = &mut figure.sleeps[usize::from(mixed)];
        let ns = if mixed {
            &mut figure.mixed
        } else {
            &mut figure.one_mode
        };
        ns.push(bare.ns, fenced.ns);
        sleeps.switches.push(bare.switches, fenced.switches);
        sleeps.wakes.push(bare.wakes, fenced.wakes);
    }
}

fn costs(tools: &Tools, place: &Place, kind: Kind, arguments: &[String]) -> Result<Output, String> {
    let directory = place.directory();
    let mut command = Command::new(&tools.app);
    command.arg(directory.path()).args(arguments);
    let ended = run_one(tools, command, kind, None)?;
    serde_json::from_str(&ended.stdout)
        .map_err(|e| format!("no such JSON was printed: {e}: {}", ended.stdout))
}

/// What a run wrote.
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command`, fenced with a lock table of its own or bare, and looks that it was so.
pub fn run_one(
    tools: &Tools,
    mut command: Command,
    kind: Kind,
    trace: Option<&Path>,
) -> Result<Ended, String> {
    for (name, _) in std::env::vars_os() {
        if name == "LD_PRELOAD" || name.as_encoded_bytes().starts_with(b"PAGEFENCE_") {
            command.env_remove(name);
        }
    }
    let dir = scratch();
    let table = dir.path().join("table");
    if kind.fenced {
        command.env("LD_PRELOAD", &tools.library);
        command.env("PAGEFENCE_TABLE", &table);
        if let Some(trace) = trace {
            command.env("PAGEFENCE_TRACE", trace);
        }
    }
    if kind.mixed {
        command.arg("--mixed");
    }
    let what = kind.name();
    let outcome =
        run(&mut command, Duration::from_secs(120)).map_err(|e| format!("{what}: {e}"))?;
    if outcome.hang.is_some() || outcome.code() != 0 {
        return Err(format!("{what}: {command:?}: {}", outcome.report()));
    }
    if table.exists() != kind.fenced {
        let why = "the library wasn't loaded, or was where it shouldn't be";
        return Err(format!("{what}: {why}: {}", outcome.report()));
    }
    Ok(Ended {
        stdout: outcome.stdout,
        stderr: outcome.stderr,
    })
}

/// A short run with a trace: the file must be in mixed use when it should be and not otherwise, and nothing
/// may happen that would make the figures mean something else.
fn check(tools: &Tools, place: &Place, mixed: bool) -> Result<(), String> {
    let (directory, log) = (place.directory(), scratch());
    let trace = log.path().join("trace");
    let mut command = Command::new(&tools.app);
    command.arg(directory.path()).args(["--calls", "3"]);
    let kind = Kind {
        fenced: true,
        mixed,
    };
    run_one(tools, command, kind, Some(&trace))?;
    let text = pagefence_tests::fence::lines_of(&trace);
    // The figure beside a mapping is one of falling back.
    let seen = |event: &str| {
        let event = format!("\"event\":\"{event}\"");
        let mut told = text.lines().filter(|line| line.contains(&event));
        told.any(|line| !line.contains("\"reason\":\"mapped\""))
    };
    let wrong = [
        "fallback",
        "invalidate_failed",
        "uncovered",
        "table_error",
        "nested",
    ];
    let name = &place.name;
    match wrong.iter().find(|event| seen(event)) {
        Some(event) => Err(format!(
            "{name}: an event '{event}' in a plain run:\n{text}"
        )),
        None if seen("mixed") != mixed => {
            let not = if mixed { "isn't" } else { "is" };
            Err(format!(
                "{name}: the file {not} in mixed use, so the figures would mislead:\n{text}"
            ))
        }
        None => Ok(()),
    }
}
