//! `pagefence check`: whether a run was coherent.

pub mod args;

use std::fmt::Write;

use report::{Anomaly, Check, Checked, OneFile, Rules, Step};

use crate::failure::Failure;
use crate::say::answer;
use crate::told::progress::Progress;
use crate::told::{open, tell_problems};
use args::HistoryArgs;

const ANOMALIES: i32 = 1;
const UNKNOWN: i32 = 3;

pub fn check(arguments: &HistoryArgs) -> Result<i32, Failure> {
    let mut folder = open(&arguments.folder)?;
    let rings = folder.one_by_one();
    let mut check = Check::new(Rules {
        atomic: arguments.atomic,
    });
    Progress::of(&rings).each_ring(&rings, |ring| {
        check.begins(ring);
        let lost = folder.each_and_contents(ring, |event| check.add(&event));
        check.ends(&lost);
    });
    let whole = !tell_problems(&mut folder);
    let checked = check.checked(&folder.lost(), whole);
    match arguments.json {
        true => answer(checked.json())?,
        false => answer(page(&checked))?,
    }
    Ok(match checked.verdict {
        "coherent" => 0,
        "anomalies" => ANOMALIES,
        _ => UNKNOWN,
    })
}

fn page(checked: &Checked) -> String {
    let mut page = checked.says.clone();
    // Writing to a String can't fail.
    for limit in &checked.limits {
        let _ = write!(page, "\n  {limit}");
    }
    for file in &checked.files {
        of_file(&mut page, file);
    }
    page
}

fn of_file(page: &mut String, file: &OneFile) {
    let name = match file.path.as_str() {
        "" => "a file whose path isn't known",
        path => path,
    };
    let _ = write!(
        page,
        "\n\n{name} (device {}:{}, inode {})\n  {} blocks of 512 bytes, read {} times, written {} times",
        libc::major(file.device),
        libc::minor(file.device),
        file.inode,
        file.blocks,
        file.reads,
        file.writes
    );
    let left = &file.left_out;
    for (count, what) in [
        (
            file.torn,
            "reads showed a part of a call under way, as isolation = \"coherent\" allows",
        ),
        (
            left.mappings,
            "blocks are left out from when they were mapped to be stored to",
        ),
        (
            left.changes,
            "blocks are left out while a copy, a change of layout or a call whose bytes aren't known may have changed them",
        ),
        (
            left.parts,
            "blocks are left out while a part of them was written",
        ),
        (
            left.lost,
            "blocks are left out before the first record that is there",
        ),
        (
            file.ambiguous,
            "blocks could be explained by what was there before the first call",
        ),
    ] {
        if count > 0 {
            let _ = write!(page, "\n  {count} {what}");
        }
    }
    for anomaly in &file.anomalies {
        of_anomaly(page, anomaly);
    }
}

fn of_anomaly(page: &mut String, anomaly: &Anomaly) {
    let what = match (anomaly.kind, anomaly.count) {
        ("append", 1) => "one call",
        ("append", _) => "calls",
        (_, 1) => "one block",
        _ => "blocks",
    };
    let count = match anomaly.count {
        1 => String::new(),
        count => format!("{count} "),
    };
    let _ = write!(
        page,
        "\n  {}: {}: {count}{what}; for example bytes {} to {}:",
        anomaly.kind.to_uppercase(),
        anomaly.says,
        anomaly.first,
        anomaly.last
    );
    for step in &anomaly.story {
        let _ = write!(page, "\n    {}", line(step));
    }
}

fn line(step: &Step) -> String {
    let end = match step.end_microseconds {
        Some(end) => format!("{end:.1}"),
        None => "never".to_owned(),
    };
    let bytes = match step.bytes.as_str() {
        "" => String::new(),
        letter => format!(": contents {letter}"),
    };
    format!(
        "{:>10.1} to {end:>10} us  {} ({}) {} {} to {} ({}){bytes}",
        step.begin_microseconds,
        step.program,
        step.process,
        step.did,
        step.first,
        step.last,
        step.mode
    )
}
