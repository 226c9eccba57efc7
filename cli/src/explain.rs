//! `pagefence policy explain`: what holds for one file, and who says so.

use std::fmt::Write;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use policy::environment as names;
use policy::{Escaped, Explanation, Key, Mode, Origin, Policy, Route};
use serde::Serialize;

use crate::args::ExplainArgs;
use crate::environment::overrides;
use crate::failure::Failure;
use crate::say;
use crate::say::Shown;

/// The exit code when the policy or the path is no good.
const FAILED: i32 = 1;

/// What was asked, resolved.
struct Question {
    path: PathBuf,
    program: Vec<u8>,
    filesystem: String,
    /// Why no policy matters for it.
    never_fenced: Option<&'static str>,
    /// It has other names (hard links).
    other_names: u64,
    /// The lock table that the environment names.
    table: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    program: Option<String>,
    filesystem: String,
    never_fenced: Option<&'static str>,
    policy: Option<String>,
    rule: Option<RuleAnswer>,
    skipped: Vec<SkippedAnswer>,
    table: Option<String>,
    /// The mode that other programs get, where the rule enforces for some only.
    other_programs: Option<&'static str>,
    settings: Vec<SettingAnswer>,
}

#[derive(Serialize)]
struct RuleAnswer {
    index: usize,
    name: Option<String>,
    line: usize,
}

#[derive(Serialize)]
struct SkippedAnswer {
    #[serde(flatten)]
    rule: RuleAnswer,
    condition: &'static str,
}

#[derive(Serialize)]
struct SettingAnswer {
    key: &'static str,
    value: String,
    from: String,
}

pub fn explain(arguments: &ExplainArgs) -> Result<i32, Failure> {
    let policy = load(arguments)?.with_overrides(overrides());
    let question = resolve(arguments)?;
    let explanation = policy.explain(
        question.path.as_os_str().as_bytes(),
        &question.program,
        &question.filesystem,
    );
    if arguments.json {
        let answer = answer(&question, &explanation);
        say::answer(serde_json::to_string(&answer).unwrap_or_default())?;
    } else {
        say::answer(show(&question, &explanation))?;
    }
    Ok(0)
}

fn load(arguments: &ExplainArgs) -> Result<Policy, Failure> {
    let path = arguments.policy.clone();
    let path = path.or_else(|| names::path_in(names::POLICY));
    let failure = |error| Failure::new(FAILED, format!("the policy can't be used\n\n{error}"), "");
    Policy::chosen(path.as_deref()).map_err(failure)
}

/// Resolves the path as the library would see it; its last component need not exist.
fn resolve(arguments: &ExplainArgs) -> Result<Question, Failure> {
    let given = &arguments.path;
    let unresolved = |error: std::io::Error| {
        let message = format!("{}: {error}", given.shown());
        Failure::new(FAILED, message, "its directory, at least, must exist")
    };
    let (path, place) = match std::fs::canonicalize(given) {
        Ok(path) => (path.clone(), path),
        Err(error) => {
            let absolute = std::path::absolute(given).map_err(unresolved)?;
            let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else {
                return Err(unresolved(error));
            };
            let directory = std::fs::canonicalize(directory).map_err(unresolved)?;
            (directory.join(name), directory)
        }
    };
    let filesystem = match &arguments.filesystem {
        Some(name) => name.clone(),
        None => filesystem_of(&place).map_err(unresolved)?.to_owned(),
    };
    let metadata = std::fs::metadata(&path).ok();
    let kind = metadata.as_ref().map(std::fs::Metadata::file_type);
    let file = metadata.filter(std::fs::Metadata::is_file);
    Ok(Question {
        path,
        program: arguments
            .program
            .as_ref()
            .map_or(Vec::new(), |name| base_name(Path::new(name))),
        filesystem,
        never_fenced: kind.and_then(never_fenced),
        other_names: file.map_or(0, |file| file.nlink().saturating_sub(1)),
        table: names::path_in(names::TABLE),
    })
}

/// As the library knows it: the file name of the executable, which a link may lead to.
fn base_name(program: &Path) -> Vec<u8> {
    let is_path = program.as_os_str().as_bytes().contains(&b'/');
    let resolved = is_path
        .then(|| std::fs::canonicalize(program).ok())
        .flatten();
    let program = resolved.as_deref().unwrap_or(program);
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.as_bytes().to_vec()
}

fn escaped(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}

/// What a policy says of a file, and who says so.
pub struct Said {
    pub mode: Mode,
    pub route: Route,
    pub by: String,
}

pub fn ruling(
    policy: &Policy,
    path: &[u8],
    program: &[u8],
    filesystem: &str,
    is_device: bool,
) -> Said {
    let explained = policy.explain(path, program, filesystem);
    let of_kernel = !is_device && policy::is_kernel_filesystem(filesystem);
    let mut values = explained.values.iter();
    let origin = values.find(|value| value.key == Key::Mode);
    let by = match (&explained.rule, origin.map(|value| &value.origin)) {
        (Some(rule), _) => rule.to_string(),
        (None, Some(Origin::BuiltIn) | None) => "built in".to_owned(),
        (None, Some(_)) => "[defaults]".to_owned(),
    };
    Said {
        mode: match of_kernel {
            true => Mode::Off,
            false => explained.settings.mode,
        },
        route: explained.settings.route,
        by,
    }
}

pub fn filesystem_of(path: &Path) -> std::io::Result<&'static str> {
    let statfs = rustix::fs::statfs(path)?;
    #[allow(clippy::unnecessary_cast)] // The type of f_type differs between architectures.
    Ok(policy::filesystem_name(statfs.f_type as u64))
}

fn never_fenced(kind: FileType) -> Option<&'static str> {
    if kind.is_file() || kind.is_block_device() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_char_device() {
        Some("a character device")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else {
        Some("a socket")
    }
}

fn show(question: &Question, explanation: &Explanation) -> String {
    let mut out = String::new();
    let program = match question.program.as_slice() {
        [] => "(any that no rule names; see --program)".to_owned(),
        name => Escaped(name).to_string(),
    };
    let rule = match &explanation.rule {
        Some(rule) => format!("{rule} at {}:{}", rule.file, rule.line),
        None => "none matches".to_owned(),
    };
    let table = match (&question.table, &explanation.table) {
        (Some(path), _) => format!("{} (environment variable {})", escaped(path), names::TABLE),
        (None, Some((path, line))) => format!("{} ({}:{line})", path.shown(), explanation.file),
        (None, None) => "the library's default".to_owned(),
    };
    let policy = match explanation.file.as_str() {
        "" => "built in",
        file => file,
    };
    let heads = [
        ("path", escaped(&question.path)),
        ("program", program),
        ("filesystem", question.filesystem.clone()),
        ("policy", policy.to_owned()),
        ("table", table),
        ("rule", rule),
    ];
    // Writing to a String can't fail.
    for (name, value) in heads {
        let _ = writeln!(out, "{name:<12}{value}");
    }
    for skipped in &explanation.skipped {
        let (rule, condition) = (&skipped.rule, skipped.condition);
        let _ = writeln!(
            out,
            "{:<12}{rule} before it does not match: {condition}",
            ""
        );
    }
    notes(&mut out, question, explanation);
    let _ = writeln!(out, "\n{:<24}{:<14}FROM", "SETTING", "VALUE");
    for value in &explanation.values {
        let (name, origin) = (value.key.name(), &value.origin);
        let _ = writeln!(out, "{name:<24}{:<14}{origin}", value.value);
    }
    out
}

/// What is to be known beside the settings.
fn notes(out: &mut String, question: &Question, explanation: &Explanation) {
    if let Some(kind) = question.never_fenced {
        let _ = writeln!(
            out,
            "{:<12}it is {kind}: never fenced, whatever holds below",
            "note"
        );
    }
    if question.other_names > 0 {
        let _ = writeln!(
            out,
            "{:<12}the file has other names, too ({} hard links): this is what holds by this one",
            "note", question.other_names
        );
    }
    if let Some(mode) = explanation.others {
        let mode = mode.word();
        let _ = writeln!(
            out,
            "{:<12}the rule is for some programs only: for others mode is {mode} on this file, and they aren't kept coherent with these",
            "note"
        );
    }
}

fn answer(question: &Question, explanation: &Explanation) -> Answer {
    let rule = |rule: &policy::MatchedRule| RuleAnswer {
        index: rule.index,
        name: rule.name.clone(),
        line: rule.line,
    };
    let skipped = explanation.skipped.iter().map(|skipped| SkippedAnswer {
        rule: rule(&skipped.rule),
        condition: skipped.condition,
    });
    let settings = explanation.values.iter().map(|value| SettingAnswer {
        key: value.key.name(),
        value: value.value.clone(),
        from: value.origin.to_string(),
    });
    Answer {
        path: escaped(&question.path),
        program: (!question.program.is_empty()).then(|| Escaped(&question.program).to_string()),
        filesystem: question.filesystem.clone(),
        never_fenced: question.never_fenced,
        policy: (!explanation.file.is_empty()).then(|| explanation.file.clone()),
        rule: explanation.rule.as_ref().map(rule),
        skipped: skipped.collect(),
        table: question
            .table
            .as_ref()
            .or(explanation.table.as_ref().map(|(path, _)| path))
            .map(|path| escaped(path)),
        other_programs: explanation.others.map(policy::Mode::word),
        settings: settings.collect(),
    }
}
