//! `pagefence policy check`: is this policy right?

use policy::{Diagnostic, Policy, PolicyError};
use serde::Serialize;

use crate::args::CheckArgs;
use crate::failure::Failure;
use crate::say::{Shown, answer, tell};

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    valid: bool,
    errors: Vec<Mistake<'a>>,
    warnings: Vec<Mistake<'a>>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    line: usize,
    column: usize,
    text: &'a str,
    message: &'a str,
    hint: &'a str,
}

pub fn check(arguments: &CheckArgs) -> Result<i32, Failure> {
    let result = Policy::load(&arguments.file);
    let file = arguments.file.shown().to_string();
    match &result {
        _ if arguments.json => answer(json(file, &result))?,
        Ok(policy) => {
            for warning in policy.warnings() {
                tell(warning.as_warning(&file));
            }
            answer(format_args!(
                "{file}: right, {}",
                rules(policy.rule_count())
            ))?;
        }
        Err(error) => tell(error),
    }
    Ok(i32::from(result.is_err()))
}

fn rules(count: usize) -> String {
    match count {
        0 => "no rules".to_owned(),
        1 => "1 rule".to_owned(),
        count => format!("{count} rules"),
    }
}

fn json(file: String, result: &Result<Policy, PolicyError>) -> String {
    let (errors, warnings) = match result {
        Ok(policy) => (&[][..], policy.warnings()),
        Err(error) => (&error.diagnostics[..], &[][..]),
    };
    let checked = Checked {
        file,
        valid: result.is_ok(),
        errors: errors.iter().map(mistake).collect(),
        warnings: warnings.iter().map(mistake).collect(),
    };
    serde_json::to_string(&checked).unwrap_or_default()
}

fn mistake(found: &Diagnostic) -> Mistake<'_> {
    Mistake {
        line: found.line,
        column: found.column,
        text: &found.text,
        message: &found.message,
        hint: &found.hint,
    }
}
