//! Whole programs, as people run them, bare and fenced in turn: those of `programs.toml`.

use crate::about::About;
use crate::io::{self, chosen};
use crate::report;
use crate::statistics::Series;
use pagefence_tests::artefacts;
use pagefence_tests::fence::scratch;
use pagefence_tests::places::Place;
use pagefence_tests::run::{Outcome, run};
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    on: io::Args,
    /// Print the packages that the programs need, and measure nothing
    #[arg(long)]
    packages: bool,
}

#[derive(Deserialize)]
struct List {
    program: Vec<Program>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    about: String,
    packages: Vec<String>,
    #[serde(default)]
    prepare: String,
    run: String,
    #[serde(default)]
    cleanup: String,
    #[serde(default)]
    mixed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub filesystem: String,
    pub name: String,
    /// What the program does, for people.
    pub says: String,
    pub mixed: bool,
    /// Nanoseconds: of the run, or of each of what it counts in a second.
    pub ns: Series,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub figures: Vec<Figure>,
}

/// One script may take so long.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn measure(args: &Args) -> Result<(), String> {
    let programs = programs(&args.on.common.figure)?;
    if args.packages {
        let mut packages: Vec<_> = programs.iter().flat_map(|p| &p.packages).collect();
        packages.sort();
        packages.dedup();
        packages.iter().for_each(|package| println!("{package}"));
        return Ok(());
    }
    let places = chosen(&args.on.filesystem)?;
    let about = About::begin("programs", &args.on.common, None, &places)?;
    println!(
        "{}\n\n{:11} {:16} {:>10} {:>10} {:>6} {:>13}",
        about.machine, "", "ms", "bare", "fenced", "times", "low..high"
    );
    let mut figures = Vec::new();
    for place in places {
        for program in &programs {
            let figure = one(&place, program, args.on.common.rounds)?;
            println!("{}", line(&figure)?);
            figures.push(figure);
        }
    }
    report::close(about, Results { figures }, args.on.common.json.as_deref())
}

fn programs(only: &[String]) -> Result<Vec<Program>, String> {
    let list: List = toml::from_str(include_str!("programs.toml")).map_err(|e| e.to_string())?;
    let names: Vec<_> = list.program.iter().map(|p| p.name.clone()).collect();
    if let Some(missing) = only.iter().find(|name| !names.contains(name)) {
        return Err(format!(
            "no program {missing}; there are: {}",
            names.join(", ")
        ));
    }
    let wanted = |p: &Program| only.is_empty() || only.contains(&p.name);
    Ok(list.program.into_iter().filter(wanted).collect())
}

fn line(figure: &Figure) -> Result<String, String> {
    let s = figure.ns.summary().ok_or("nothing was measured")?;
    // What is counted takes microseconds each.
    let ms = |ns: f64| format!("{:.*}", if ns < 1e6 { 5 } else { 1 }, ns / 1e6);
    Ok(format!(
        "{:11} {:16} {:>10} {:>10} {:6.2} {:>13}{}",
        figure.filesystem,
        figure.name,
        ms(s.bare_ns.median),
        ms(s.fenced_ns.median),
        s.ratio.median,
        format!("{:.2}..{:.2}", s.ratio.low, s.ratio.high),
        if figure.mixed { "  mixed" } else { "" }
    ))
}

/// Bare and fenced in turn; who goes first changes, so that none always finds the caches warm.
fn one(place: &Place, program: &Program, rounds: u32) -> Result<Figure, String> {
    let mut series = Series::default();
    let said = |e| format!("{} on {}: {e}", program.name, place.name);
    for round in 0..rounds {
        let way = |fenced| once(place, program, fenced).map_err(said);
        let (bare, fenced) = match round % 2 {
            0 => (way(false)?, way(true)?),
            _ => {
                let fenced = way(true)?;
                (way(false)?, fenced)
            }
        };
        series.push(Some(bare), Some(fenced));
    }
    Ok(Figure {
        filesystem: place.name.clone(),
        name: program.name.clone(),
        says: program.about.clone(),
        mixed: program.mixed,
        ns: series,
    })
}

/// Nanoseconds.
fn once(place: &Place, program: &Program, fenced: bool) -> Result<f64, String> {
    let (dir, own) = (place.directory(), scratch());
    let start = starter(own.path(), fenced)?;
    let script = |text: &str| -> Result<(Outcome, Duration), String> {
        let mut command = Command::new("bash");
        command.current_dir(dir.path()).args(["-euc", text]);
        command.env("fenced", &start).env_remove("LD_PRELOAD");
        let begun = Instant::now();
        let outcome = run(&mut command, PATIENCE).map_err(|e| e.to_string())?;
        Ok((outcome, begun.elapsed()))
    };
    let prepared = script(&program.prepare)?;
    let measured = script(&program.run);
    let cleaned = script(&program.cleanup)?;
    let (outcome, took) = measured?;
    for outcome in [&prepared.0, &outcome, &cleaned.0] {
        if outcome.hang.is_some() || outcome.code() != 0 {
            return Err(outcome.report());
        }
    }
    if own.path().join("table").exists() != fenced {
        return Err("the library wasn't loaded, or was where it shouldn't be".to_owned());
    }
    let last = outcome.stdout.lines().last().unwrap_or_default();
    match (last.is_empty(), last.parse::<f64>()) {
        (true, _) => Ok(took.as_nanos() as f64),
        (false, Ok(rate)) if rate > 0.0 => Ok(1e9 / rate),
        _ => Err(format!("no number: {}", outcome.report())),
    }
}

/// A program that starts others in the way that is measured.
fn starter(own: &Path, fenced: bool) -> Result<String, String> {
    let library = artefacts::library()?;
    let file = own.join("start");
    let (library, table) = (library.display(), own.join("table"));
    let variables = match fenced {
        true => format!(
            "LD_PRELOAD='{library}' PAGEFENCE_TABLE='{}'",
            table.display()
        ),
        false => String::new(),
    };
    let text = format!("#!/bin/sh\nexec env {variables} \"$@\"\n");
    // Servers don't run as root.
    let all = |path: &Path, bits| std::fs::set_permissions(path, Permissions::from_mode(bits));
    std::fs::write(&file, text)
        .and_then(|()| all(&file, 0o755))
        .and_then(|()| all(own, 0o777))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(file.display().to_string())
}
