//! Races programs that mix buffered, direct and mapped I/O: each bare, fenced, and fenced with
//! random kills, on every filesystem, strictly one at a time, since they distort each other.

mod apps;
mod cell;
mod report;
mod story;

use apps::App;
use cell::{Cell, Plan, Tools, cell};
use clap::Parser;
use pagefence_tests::fence;
use pagefence_tests::places::{Place, places};
use report::{Paint, Total};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Races programs that mix I/O modes, bare and under `pagefence run`, on every filesystem.
///
/// Passes only if every fenced run shows 0 anomalies and every bare run shows some where the bare
/// kernel is known to fail. The filesystems are those in PAGEFENCE_TEST_FILESYSTEMS; see
/// `scripts/filesystems`.
#[derive(Parser)]
#[command(name = "races")]
struct Args {
    /// 60 seconds fenced and 60 with kills instead of 1.5 and 1.5, and half of those where the bare kernel isn't known to lose
    /// anything; bare up to 60 in throws of 5, until something is lost, instead of 25 in throws of 1; and the ways of one
    /// program on every filesystem, not only on the first for 2 seconds
    #[arg(long, conflicts_with = "demo")]
    long: bool,
    /// Explain what is shown; fewer seconds, four filesystems, no kills
    #[arg(long)]
    demo: bool,
    /// Only this program (may be repeated)
    #[arg(long, value_name = "NAME")]
    app: Vec<String>,
    /// Only this filesystem (may be repeated)
    #[arg(long, value_name = "NAME")]
    filesystem: Vec<String>,
    /// Fenced with `route` as this in the policy: buffered (where nobody holds anything: those that look for halves of
    /// ordinary writes, too, with `isolation = "atomic"`) or direct
    #[arg(long, value_name = "ROUTE", conflicts_with = "demo")]
    route: Option<Route>,
    /// The programs as they were built into this folder, and not those beside this one: static ones, say
    #[arg(long, value_name = "FOLDER", conflicts_with = "demo")]
    built: Option<PathBuf>,
    /// Start of the programs' random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Route {
    Buffered,
    Direct,
}

impl Route {
    fn policy(self) -> &'static str {
        match self {
            Route::Buffered => fence::ROUTED,
            Route::Direct => fence::PAST,
        }
    }
}

const DEMO_FILESYSTEMS: [&str; 4] = ["ext4", "xfs", "btrfs", "tmpfs"];
/// The whole demonstration takes about this many seconds, however many programs there are.
const DEMO_SECONDS: f64 = 210.0;

fn main() -> ExitCode {
    let args = Args::parse();
    match races(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("races: {message}");
            ExitCode::from(2)
        }
    }
}

fn races(args: &Args) -> Result<bool, String> {
    let apps = apps::apps(&args.app)?;
    let places = chosen(args)?;
    let races = races_of(args, &apps, &places);
    let (plan, paint) = (plan(args, races.len()), Paint::detect());
    if args.demo {
        println!("{}", story::opening(paint));
    }
    let mut cells = Vec::new();
    let mut last = None;
    for (app, place) in &races {
        let tools = Tools::find(app, args.built.as_deref())?;
        if args.demo {
            if last.replace(&app.name) != Some(&app.name) {
                println!("{}", story::introduce(app, &apps::about(&tools.app), paint));
            }
            let done = cell(app, &tools, place, plan, |_| {});
            println!("{}", story::tell(&done, paint));
            cells.push(done);
            continue;
        }
        let plan = match (app.is_part(), app.must_fail_on(&place.name)) {
            (true, _) => plan.of_part(),
            (false, true) => plan,
            (false, false) => plan.of_clean(),
        };
        let number = format!("[{}/{}]", cells.len() + 1, races.len());
        cells.push(with_progress(app, &tools, place, plan, &number, paint));
    }
    finish(args, &cells, paint)
}

/// Which programs race where. A part of one that races everywhere does so on the first filesystem, and not in the
/// demonstration.
fn races_of<'a>(args: &Args, apps: &'a [App], places: &'a [Place]) -> Vec<(&'a App, &'a Place)> {
    let named = !args.filesystem.is_empty();
    let wanted =
        |app: &App, at: usize| !app.is_part() || args.long || (!args.demo && (named || at == 0));
    let all = apps.iter().flat_map(|app| {
        let places = places.iter().enumerate();
        let here = places.filter(move |(at, _)| wanted(app, *at));
        here.map(move |(_, place)| (app, place))
    });
    all.collect()
}

fn with_progress(
    app: &App,
    tools: &Tools,
    place: &Place,
    plan: Plan,
    number: &str,
    paint: Paint,
) -> Cell {
    let begun = Instant::now();
    print!("{number} {} on {}: ", app.name, place.name);
    let done = cell(app, tools, place, plan, |phase| {
        print!("{phase}... ");
        // A progress line that can't be shown is no reason to stop.
        let _ = std::io::stdout().flush();
    });
    println!(
        "{}  ({:.1} s)",
        report::line(&done, paint),
        begun.elapsed().as_secs_f64()
    );
    done
}

fn finish(args: &Args, cells: &[Cell], paint: Paint) -> Result<bool, String> {
    println!("\n{}\n", report::table(cells, paint));
    print!("{}", report::failures(cells));
    if let Some(path) = &args.json {
        report::write_json(cells, path)?;
    }
    if args.demo {
        println!("{}", story::closing(cells, paint));
    }
    let total = Total::of(cells);
    println!("{}", total.line());
    Ok(total.failed == 0 && total.passed > 0)
}

fn chosen(args: &Args) -> Result<Vec<Place>, String> {
    let all = places();
    for name in &args.filesystem {
        if !all.iter().any(|place| place.name == *name) {
            return Err(format!(
                "no filesystem {name} in PAGEFENCE_TEST_FILESYSTEMS"
            ));
        }
    }
    let wanted = |place: &Place| {
        let named = args.filesystem.is_empty() || args.filesystem.contains(&place.name);
        let short = !args.demo || !args.filesystem.is_empty();
        named && (short || DEMO_FILESYSTEMS.contains(&place.name.as_str()))
    };
    let chosen: Vec<Place> = all.iter().filter(|place| wanted(place)).cloned().collect();
    // Not under scripts/filesystems: then whatever the current directory is on.
    Ok(if chosen.is_empty() { all } else { chosen })
}

fn plan(args: &Args, cells: usize) -> Plan {
    let (seed, policy) = (args.seed, args.route.map(Route::policy));
    if args.demo {
        // Each run costs a quarter of a second beyond its own time.
        let each = (DEMO_SECONDS / (2.0 * cells.max(1) as f64) - 0.25).clamp(1.0, 3.0);
        return Plan {
            bare: each,
            throws: 5,
            curious: false,
            fenced: each,
            kills: None,
            policy,
            seed,
        };
    }
    if args.long {
        return Plan {
            bare: 5.0,
            throws: 12,
            curious: true,
            fenced: 60.0,
            kills: Some(60.0),
            policy,
            seed,
        };
    }
    // Mostly a second is enough for something to be lost, and no bare run need be longer than that.
    Plan {
        bare: 1.0,
        throws: 25,
        curious: false,
        fenced: 1.5,
        kills: Some(1.5),
        policy,
        seed,
    }
}
