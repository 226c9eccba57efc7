//! `pagefence wrap --check`: whether the processes of a service are fenced, by what they have mapped and by the table.

use std::collections::BTreeSet;
use std::path::Path;

use policy::Escaped;
use serde::Serialize;

use super::args::WrapArgs;
use crate::failure::{Failure, USAGE};
use crate::process::{Fence, Process};
use crate::say::{Shown, answer};

#[derive(Serialize)]
struct Member {
    pid: u32,
    program: String,
    /// `fenced`; `loaded`: the library is in it, and no table; `unfenced`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    unit: &'a str,
    fenced: bool,
    verdict: String,
    processes: Vec<Member>,
}

pub fn check(arguments: &WrapArgs, unit: &str) -> Result<i32, Failure> {
    let mut processes = Vec::new();
    for pid in of_unit(Path::new("/sys/fs/cgroup"), unit) {
        match Process::read(pid) {
            Ok(process) => processes.push(member(&process)),
            // It has ended meanwhile.
            Err(gone) if gone.code == USAGE => {}
            Err(failure) => return Err(failure),
        }
    }
    let count = |state| processes.iter().filter(|one| one.state == state).count();
    let (fenced, unfenced, all) = (count("fenced"), count("unfenced"), processes.len());
    let verdict = match (all, unfenced, fenced) {
        (0, ..) => format!(
            "{unit}: it has no processes now: it doesn't run, or this is another machine's name for it"
        ),
        (_, 0, 0) => format!(
            "{unit}: the library is in its processes, and none is in a lock table: none has used a file, or what they have said says why"
        ),
        (_, 0, _) => format!("{unit}: fenced"),
        (_, some, _) => format!(
            "{unit}: {some} of its {all} processes are not fenced: they began before the drop-in (systemctl restart {unit}), or `pagefence doctor PID` says why"
        ),
    };
    let report = Answer {
        unit,
        fenced: unfenced == 0 && fenced > 0,
        verdict,
        processes,
    };
    let code = i32::from(!report.fenced);
    if arguments.json {
        answer(serde_json::to_string(&report).unwrap_or_default())?;
        return Ok(code);
    }
    let mut text = format!("{}\n", report.verdict);
    for one in &report.processes {
        let table = one
            .table
            .as_deref()
            .map_or(String::new(), |table| format!("  {table}"));
        text += &format!(
            "  {:>7}  {:<9} {}{table}\n",
            one.pid, one.state, one.program
        );
    }
    answer(text)?;
    Ok(code)
}

fn member(process: &Process) -> Member {
    let supervisor = process.supervisor();
    let (state, table) = match supervisor.as_ref().unwrap_or(process).fence() {
        Fence::NotLoaded | Fence::NotInTable(..) => ("unfenced", None),
        Fence::NoTable(_) => ("loaded", None),
        Fence::Fenced(_, table) => ("fenced", Some(table.shown().to_string())),
    };
    Member {
        pid: process.number,
        program: Escaped(process.program()).to_string(),
        state,
        table,
    }
}

/// A unit's control group has its name, wherever in the tree it lies, and whatever trees there are.
fn of_unit(tree: &Path, unit: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![(tree.to_owned(), false)];
    while let Some((directory, mut inside)) = waiting.pop() {
        inside |= directory.file_name().is_some_and(|name| name == unit);
        if inside {
            let listed =
                std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push((entry.path(), inside));
            }
        }
    }
    // Of another PID namespace.
    found.remove(&0);
    found
}
