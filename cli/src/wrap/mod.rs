//! `pagefence wrap`: drop-ins that fence services of systemd.

pub mod args;
mod needs;
mod running;
mod unit;

use kernel::errors;
use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::library;
use crate::say::{Shown, answer, tell};
use args::WrapArgs;
use needs::{FIRST_LINE, GROUP, Refusal};
use unit::{OWN, Unit};

/// The unit can't be fenced so, or isn't.
const NOT_DONE: i32 = 1;

#[derive(Serialize)]
struct Answer<'a> {
    unit: &'a str,
    path: String,
    text: Option<String>,
    done: Option<&'static str>,
    refused: Vec<Refusal>,
}

pub fn wrap(arguments: &WrapArgs) -> Result<i32, Failure> {
    let unit = name(&arguments.unit)?;
    if arguments.check {
        return running::check(arguments, &unit);
    }
    let folder = arguments
        .root
        .join("etc/systemd/system")
        .join(format!("{unit}.d"));
    let path = folder.join(OWN);
    if arguments.remove {
        return remove(arguments, &unit, &folder, &path);
    }
    let read = Unit::read(&arguments.root, &unit)?;
    let library = library_in(&arguments.root)?;
    let made = needs::of(&read, &library, &path);
    let refused = made.is_err();
    let report = |done, made: Result<String, Vec<Refusal>>| {
        let (text, refused) = match made {
            Ok(text) => (Some(text), Vec::new()),
            Err(refused) => (None, refused),
        };
        say(
            arguments,
            &Answer {
                unit: &unit,
                path: path.shown().to_string(),
                text,
                done,
                refused,
            },
        )
    };
    if refused {
        report(None, made)?;
        return Ok(NOT_DONE);
    }
    if arguments.dry_run {
        report(Some("shown"), made)?;
        return Ok(0);
    }
    has_group(&arguments.root)?;
    if let Ok(text) = &made {
        write(&folder, &path, text)?;
    }
    report(Some("written"), made)?;
    tell_what_follows(arguments, &unit);
    Ok(0)
}

/// Services have a process environment; other units have none, or one for each command.
fn name(given: &str) -> Result<String, Failure> {
    let kinds = [
        ".socket",
        ".mount",
        ".swap",
        ".slice",
        ".scope",
        ".timer",
        ".target",
        ".path",
        ".device",
        ".automount",
    ];
    let wrong = given.is_empty()
        || given.contains('/')
        || given.starts_with('.')
        || kinds.iter().any(|kind| given.ends_with(kind));
    if wrong {
        return Err(Failure::of(&errors::NO_SERVICE, &[&given.shown()]));
    }
    Ok(match given.ends_with(".service") {
        true => given.to_owned(),
        false => format!("{given}.service"),
    })
}

/// Where the service will find it.
fn library_in(root: &Path) -> Result<PathBuf, Failure> {
    if root == Path::new("/") {
        return library::find();
    }
    let places =
        ["/usr/lib", "/usr/local/lib"].map(|place| Path::new(place).join("libpagefence.so"));
    let there = |place: &&PathBuf| {
        root.join(place.strip_prefix("/").unwrap_or(place))
            .is_file()
    };
    places
        .iter()
        .find(there)
        .cloned()
        .ok_or_else(|| Failure::of(&errors::NOT_INSTALLED, &[&root.shown()]))
}

/// systemd starts no service with a group that there isn't.
fn has_group(root: &Path) -> Result<(), Failure> {
    let groups = std::fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let sysusers =
        ["usr/lib", "etc"].map(|place| root.join(place).join("sysusers.d/pagefence.conf"));
    // In a tree the next start of it makes the group.
    let will_be = root != Path::new("/") && sysusers.iter().any(|path| path.is_file());
    match will_be
        || groups
            .lines()
            .any(|line| line.split(':').next() == Some(GROUP))
    {
        true => Ok(()),
        false => Err(Failure::of(&errors::NO_GROUP, &[&GROUP])),
    }
}

fn ours(path: &Path) -> Result<bool, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.starts_with(FIRST_LINE) => Ok(true),
        Ok(_) => Err(Failure::of(&errors::NOT_OURS, &[&path.shown()])),
        Err(error) if error.kind() == NotFound => Ok(false),
        Err(error) => Err(Failure::own(format!("{}: {error}", path.shown()), "")),
    }
}

/// Beside the old one, and then in its place: systemd never reads half of it.
fn write(folder: &Path, path: &Path, text: &str) -> Result<(), Failure> {
    ours(path)?;
    let failed = |error| Failure::own(format!("{}: {error}", path.shown()), "run it as root");
    std::fs::create_dir_all(folder).map_err(failed)?;
    let new = folder.join(".pagefence.new");
    std::fs::write(&new, text).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

fn remove(arguments: &WrapArgs, unit: &str, folder: &Path, path: &Path) -> Result<i32, Failure> {
    if !ours(path)? {
        return Err(Failure::of(&errors::NOT_WRAPPED, &[&unit, &path.shown()]));
    }
    let failed = |error| Failure::own(format!("{}: {error}", path.shown()), "run it as root");
    std::fs::remove_file(path).map_err(failed)?;
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != DirectoryNotEmpty => return Err(failed(error)),
        _ => {}
    }
    let path = path.shown().to_string();
    say(
        arguments,
        &Answer {
            unit,
            path,
            text: None,
            done: Some("removed"),
            refused: Vec::new(),
        },
    )?;
    tell_what_follows(arguments, unit);
    Ok(0)
}

fn say(arguments: &WrapArgs, report: &Answer) -> Result<(), Failure> {
    if arguments.json {
        return answer(serde_json::to_string(report).unwrap_or_default());
    }
    match (&report.text, report.done) {
        (Some(text), Some("shown")) => answer(text),
        (_, Some(done)) => answer(format_args!("{}: {done}", report.path)),
        (_, None) => {
            let each = report.refused.iter();
            let each: Vec<String> = each
                .map(|one| format!("  {}=  {}", one.setting, one.why))
                .collect();
            answer(format_args!(
                "{}: it can't be fenced by a drop-in\n{}",
                report.unit,
                each.join("\n")
            ))
        }
    }
}

/// For people only, and on standard error: it is no part of the answer.
fn tell_what_follows(arguments: &WrapArgs, unit: &str) {
    if !arguments.json && arguments.root == Path::new("/") {
        tell(format_args!(
            "pagefence: it holds from: systemctl daemon-reload && systemctl restart {unit}"
        ));
    }
}
