//! One cell of the table: a program on a filesystem, bare, fenced, and fenced with random kills.

use crate::apps::App;
use pagefence_tests::artefacts;
use pagefence_tests::fence;
use pagefence_tests::places::Place;
use pagefence_tests::run::{Outcome, run};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long each phase runs, in seconds.
#[derive(Clone, Copy)]
pub struct Plan {
    pub bare: f64,
    /// How often the bare program is started, at most: chance decides a race, so one that must lose
    /// something is thrown again until it does.
    pub throws: u64,
    /// Whether one that need not lose anything is thrown again, too.
    pub curious: bool,
    pub fenced: f64,
    /// None: without this phase.
    pub kills: Option<f64>,
    /// Of the fenced phases; None: the built-in one.
    pub policy: Option<&'static str>,
    pub seed: u64,
}

impl Plan {
    /// For one way of a program that has raced in all its ways.
    pub fn of_part(self) -> Plan {
        if self.curious {
            return self;
        }
        Plan {
            fenced: 2.0,
            kills: Some(1.5),
            ..self
        }
    }

    /// Where the bare kernel isn't known to lose anything: half the time shows that the fence breaks nothing there.
    pub fn of_clean(self) -> Plan {
        if self.curious {
            return self;
        }
        Plan {
            fenced: self.fenced / 2.0,
            kills: self.kills.map(|seconds| seconds / 2.0),
            ..self
        }
    }
}

/// These look for halves of ordinary writes, too, which ordinary reads show bare where nothing is opened directly: so it
/// stays where nobody holds anything.
const SEE_HALVES: [&str; 5] = [
    "copies",
    "streams",
    "layout",
    "raw-records",
    "async-records",
];

/// What one run of the program counted.
#[derive(Clone, Serialize)]
pub struct Count {
    pub anomalies: u64,
    pub persistent: u64,
    pub ops: u64,
    pub seconds: f64,
    /// The program's own words about the first anomalies.
    pub words: Vec<String>,
}

impl Count {
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.ops as f64 / self.seconds
        } else {
            0.0
        }
    }
}

#[derive(Serialize)]
pub struct Cell {
    pub app: String,
    pub filesystem: String,
    pub bare_must_fail: bool,
    pub bare: Option<Count>,
    pub fenced: Option<Count>,
    pub kills: Option<Count>,
    /// Why the program makes no sense on this filesystem.
    pub not_applicable: Option<String>,
    /// Everything that is wrong with this cell; it passed if there is nothing.
    pub failures: Vec<String>,
}

/// The built programs that a cell needs.
pub struct Tools {
    pub command: PathBuf,
    pub app: PathBuf,
}

impl Tools {
    pub fn find(app: &App, built: Option<&Path>) -> Result<Tools, String> {
        artefacts::library()?;
        let app = match built {
            Some(folder) => artefacts::app_in(folder, app.program())?,
            None => artefacts::app(app.program())?,
        };
        Ok(Tools {
            command: artefacts::command()?,
            app,
        })
    }
}

enum End {
    Counted(Count),
    NotApplicable(String),
    Failed(String),
}

/// Runs all phases of one cell, one after the other.
pub fn cell(
    app: &App,
    tools: &Tools,
    place: &Place,
    plan: Plan,
    mut step: impl FnMut(&str),
) -> Cell {
    let mut cell = Cell {
        app: app.name.clone(),
        filesystem: place.name.clone(),
        bare_must_fail: app.must_fail_on(&place.name),
        bare: None,
        fenced: None,
        kills: None,
        not_applicable: None,
        failures: Vec::new(),
    };
    if !app.applies_to(&place.name) {
        cell.not_applicable = Some("it needs what this filesystem lacks".to_owned());
        return cell;
    }
    step("bare");
    bare(&mut cell, app, tools, place, plan);
    step("fenced");
    let fenced = Phase {
        name: "fenced",
        fenced: true,
        seconds: plan.fenced,
        kills: false,
        policy: plan.policy,
        seed: plan.seed,
    };
    cell.fenced = must_be_clean(&mut cell.failures, fenced.run(app, tools, place), "fenced");
    if let Some(seconds) = plan.kills {
        step("kills");
        let kills = Phase {
            name: "fenced, with kills",
            fenced: true,
            seconds,
            kills: true,
            policy: plan.policy,
            seed: plan.seed,
        };
        cell.kills = must_be_clean(&mut cell.failures, kills.run(app, tools, place), kills.name);
    }
    cell
}

fn bare(cell: &mut Cell, app: &App, tools: &Tools, place: &Place, plan: Plan) {
    let throw = |number: u64| {
        let phase = Phase {
            name: "bare",
            fenced: false,
            seconds: plan.bare,
            kills: false,
            policy: None,
            seed: plan.seed.wrapping_add(7919 * number),
        };
        phase.run(app, tools, place)
    };
    let again = cell.bare_must_fail || (plan.curious && !app.always_clean);
    let mut end = throw(0);
    for number in 1..if again { plan.throws } else { 1 } {
        if !matches!(&end, End::Counted(count) if count.anomalies == 0) {
            break;
        }
        end = throw(number);
    }
    match end {
        End::NotApplicable(why) => {
            let text = format!(
                "bare: it says that it doesn't apply, and the list says that it does: {why}"
            );
            cell.failures.push(text);
        }
        End::Failed(report) => cell.failures.push(report),
        End::Counted(count) => {
            if cell.bare_must_fail && count.anomalies == 0 {
                cell.failures.push(format!(
                    "bare: nothing was lost, {} times, where it must: 0 fenced proves nothing",
                    plan.throws
                ));
            }
            if app.always_clean && count.anomalies != 0 {
                let words = count.words.join("\n");
                cell.failures.push(format!(
                    "bare: {} anomalies where there are none:\n{words}",
                    count.anomalies
                ));
            }
            cell.bare = Some(count);
        }
    }
}

fn must_be_clean(failures: &mut Vec<String>, end: End, phase: &str) -> Option<Count> {
    match end {
        End::Counted(count) => {
            if count.anomalies != 0 {
                let words = count.words.join("\n");
                failures.push(format!("{phase}: {} anomalies:\n{words}", count.anomalies));
            }
            Some(count)
        }
        End::NotApplicable(why) => {
            failures.push(format!(
                "{phase}: says it doesn't apply, but bare it did: {why}"
            ));
            None
        }
        End::Failed(report) => {
            failures.push(report);
            None
        }
    }
}

const DEFAULTS: &str = "[defaults]\n";
const SYSCALLS: &str = "coverage = \"syscalls\"\n";

#[derive(Clone, Copy)]
struct Phase {
    name: &'static str,
    fenced: bool,
    seconds: f64,
    kills: bool,
    policy: Option<&'static str>,
    seed: u64,
}

impl Phase {
    /// Once; and once more on a new filesystem if the kernel has shut this one down, which is nothing that
    /// a program can do to it, and is said.
    fn run(&self, app: &App, tools: &Tools, place: &Place) -> End {
        self.renewed_if_shut_down(place);
        let end = self.once(app, tools, place);
        if self.renewed_if_shut_down(place) {
            return self.once(app, tools, place);
        }
        end
    }

    fn renewed_if_shut_down(&self, place: &Place) -> bool {
        let down = place.is_shut_down();
        if down {
            eprintln!(
                "\n{}: the kernel has shut this filesystem down (see dmesg); {} on a new one",
                place.name, self.name
            );
            place.renew();
        }
        down
    }

    fn once(&self, app: &App, tools: &Tools, place: &Place) -> End {
        let (dir, memory) = (place.directory(), fence::scratch());
        let table = memory.path().join("table");
        let mut command = Command::new(if self.fenced {
            &tools.command
        } else {
            &tools.app
        });
        if self.fenced {
            command.arg("run").arg("--table").arg(&table);
            if let Some(policy) = self.policy_for(app) {
                let file = memory.path().join("policy.toml");
                if let Err(error) = std::fs::write(&file, policy) {
                    return End::Failed(format!("{}: {error}", file.display()));
                }
                command.arg("--policy").arg(file);
            }
            let sees_halves = SEE_HALVES.contains(&app.program());
            if app.needs_atomic || (sees_halves && self.policy == Some(fence::ROUTED)) {
                command.args(["--isolation", "atomic"]);
            }
            command.arg("--").arg(&tools.app);
        }
        command.arg(dir.path());
        command.args([
            "--seconds",
            &self.seconds.to_string(),
            "--seed",
            &self.seed.to_string(),
        ]);
        if self.kills {
            command.arg("--kills");
        }
        if let Some(way) = &app.way {
            command.args(["--way", way]);
        }
        // The program itself gives up after a minute without progress, and a minute with each one that doesn't die;
        // this is for when it can't.
        let limit = Duration::from_secs_f64(self.seconds + 150.0);
        match run(&mut command, limit) {
            Err(error) => End::Failed(format!("{}: {error}", self.name)),
            Ok(outcome) => match (self.judge(&outcome), fence::damage(&table)) {
                (End::Counted(_), Some(wrong)) if self.fenced => {
                    End::Failed(format!("{}: not fenced: {wrong}", self.name))
                }
                (end, _) => end,
            },
        }
    }

    /// What it asks for, and what the program needs.
    fn policy_for(&self, app: &App) -> Option<String> {
        match app.needs_syscalls {
            true => Some(self.policy.unwrap_or(DEFAULTS).to_owned() + SYSCALLS),
            false => self.policy.map(str::to_owned),
        }
    }

    fn judge(&self, outcome: &Outcome) -> End {
        if outcome.stderr.contains("stall: ") {
            eprintln!(
                "\n{}: it stood still for a while:\n{}",
                self.name, outcome.stderr
            );
        }
        let report =
            |what: &str| End::Failed(format!("{}: {what}: {}", self.name, outcome.report()));
        if outcome.hang.is_some() {
            return report("hang");
        }
        match (outcome.code(), parse(&outcome.stdout)) {
            (77, _) => End::NotApplicable(outcome.stderr.trim().to_owned()),
            (3, _) => report("its processes stopped making progress"),
            (0, Some(count)) if count.anomalies == 0 => End::Counted(count),
            (1, Some(count)) if count.anomalies != 0 => End::Counted(count),
            _ => report("it failed"),
        }
    }
}

/// The last line, `anomalies=N persistent=N ops=N seconds=S`, and what was said before it.
fn parse(stdout: &str) -> Option<Count> {
    let lines: Vec<&str> = stdout.trim_end().lines().collect();
    let (last, before) = lines.split_last()?;
    let value = |name: &str| {
        let pair = last
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name))?;
        pair.strip_prefix('=')
    };
    Some(Count {
        anomalies: value("anomalies")?.parse().ok()?,
        persistent: value("persistent")?.parse().ok()?,
        ops: value("ops")?.parse().ok()?,
        seconds: value("seconds")?.parse().ok()?,
        words: before
            .iter()
            .take(20)
            .map(|line| (*line).to_owned())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let count = parse("page 3 is old\nanomalies=2 persistent=1 ops=100 seconds=2.5\n").unwrap();
        assert_eq!((count.anomalies, count.persistent, count.ops), (2, 1, 100));
        assert_eq!(count.rate(), 40.0);
        assert_eq!(count.words, ["page 3 is old"]);
        assert!(parse("anomalies=2\n").is_none());
        assert!(parse("").is_none());
    }
}
