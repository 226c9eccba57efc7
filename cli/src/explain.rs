//! `pagefence policy explain`: what holds for one file, and who says so.

use std::fmt::Write;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use policy::environment as names;
use policy::{Explanation, Policy};
use serde::Serialize;

use crate::args::ExplainArgs;
use crate::environment::overrides;
use crate::failure::Failure;
use crate::say;

/// The exit code when the policy or the path is no good.
const FAILED: i32 = 1;

/// What was asked, resolved.
struct Question {
    path: PathBuf,
    program: Vec<u8>,
    filesystem: String,
    /// Why no policy matters for it.
    never_fenced: Option<&'static str>,
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
    let variable = std::env::var_os(names::POLICY).filter(|path| !path.is_empty());
    let Some(path) = arguments.policy.clone().or(variable.map(PathBuf::from)) else {
        return Ok(Policy::built_in());
    };
    let failure = |error| Failure::new(FAILED, format!("the policy can't be used\n\n{error}"), "");
    Policy::load(&path).map_err(failure)
}

/// Resolves the path as the library would see it; its last component need not exist.
fn resolve(arguments: &ExplainArgs) -> Result<Question, Failure> {
    let given = &arguments.path;
    let unresolved = |error: std::io::Error| {
        let message = format!("{}: {error}", given.display());
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
    let kind = std::fs::metadata(&path)
        .ok()
        .map(|metadata| metadata.file_type());
    Ok(Question {
        path,
        program: arguments
            .program
            .as_ref()
            .map_or(Vec::new(), |name| base_name(Path::new(name))),
        filesystem,
        never_fenced: kind.and_then(never_fenced),
    })
}

fn base_name(program: &Path) -> Vec<u8> {
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.as_bytes().to_vec()
}

fn filesystem_of(path: &Path) -> std::io::Result<&'static str> {
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
        [] => "(any that no rule names; see --program)".into(),
        name => String::from_utf8_lossy(name),
    };
    let rule = match &explanation.rule {
        Some(rule) => format!("{rule} at {}:{}", explanation.file, rule.line),
        None => "none matches".to_owned(),
    };
    let table = match &explanation.table {
        Some((path, line)) => format!("{} ({}:{line})", path.display(), explanation.file),
        None => "the library's default".to_owned(),
    };
    let policy = match explanation.file.as_str() {
        "" => "built in",
        file => file,
    };
    let heads = [
        ("path", question.path.display().to_string()),
        ("program", program.into_owned()),
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
    if let Some(kind) = question.never_fenced {
        let _ = writeln!(
            out,
            "{:<12}it is {kind}: never fenced, whatever holds below",
            "note"
        );
    }
    let _ = writeln!(out, "\n{:<24}{:<14}FROM", "SETTING", "VALUE");
    for value in &explanation.values {
        let (name, origin) = (value.key.name(), &value.origin);
        let _ = writeln!(out, "{name:<24}{:<14}{origin}", value.value);
    }
    out
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
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer {
        path: question.path.display().to_string(),
        program: (!question.program.is_empty()).then(|| text(&question.program)),
        filesystem: question.filesystem.clone(),
        never_fenced: question.never_fenced,
        policy: (!explanation.file.is_empty()).then(|| explanation.file.clone()),
        rule: explanation.rule.as_ref().map(rule),
        skipped: skipped.collect(),
        table: explanation
            .table
            .as_ref()
            .map(|(path, _)| path.display().to_string()),
        settings: settings.collect(),
    }
}
