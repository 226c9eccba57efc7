//! Races programs that mix buffered, direct and mapped I/O: each bare, fenced, and fenced with
//! random kills, on every filesystem, strictly one at a time, since they distort each other.

mod apps;
mod cell;
mod report;
mod story;

use apps::App;
use cell::{Cell, Plan, Tools, cell};
use clap::Parser;
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
    /// 60 seconds for each phase instead of 5, 5 and 3; bare in throws of 5 seconds, until something is lost
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
    /// Start of the programs' random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    let tools = apps
        .iter()
        .map(Tools::find)
        .collect::<Result<Vec<_>, _>>()?;
    let places = chosen(args)?;
    let (plan, paint) = (plan(args, apps.len() * places.len()), Paint::detect());
    if args.demo {
        println!("{}", story::opening(paint));
    }
    let mut cells = Vec::new();
    let total = apps.len() * places.len();
    for (app, tools) in apps.iter().zip(&tools) {
        if args.demo {
            println!("{}", story::introduce(app, &apps::about(&tools.app), paint));
        }
        for place in &places {
            let number = cells.len() + 1;
            let done = if args.demo {
                let done = cell(app, tools, place, plan, |_| {});
                println!("{}", story::tell(&done, paint));
                done
            } else {
                with_progress(
                    app,
                    tools,
                    place,
                    plan,
                    &format!("[{number}/{total}]"),
                    paint,
                )
            };
            cells.push(done);
        }
    }
    finish(args, &cells, paint)
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
    let seed = args.seed;
    if args.demo {
        // Each run costs a quarter of a second beyond its own time.
        let each = (DEMO_SECONDS / (2.0 * cells.max(1) as f64) - 0.25).clamp(1.0, 3.0);
        return Plan {
            bare: each,
            throws: 5,
            curious: false,
            fenced: each,
            kills: None,
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
            seed,
        };
    }
    Plan {
        bare: 5.0,
        throws: 5,
        curious: false,
        fenced: 5.0,
        kills: Some(3.0),
        seed,
    }
}
