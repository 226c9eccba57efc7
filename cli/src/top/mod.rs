//! `pagefence top`: a lock table watched, on a terminal or in lines.

pub mod args;
mod keys;
mod screen;
mod sheets;

use kernel::errors;
use std::io::IsTerminal;
use std::path::PathBuf;

use args::TopArgs;

use crate::columns::columns;
use crate::failure::Failure;
use crate::say::answer;
use crate::watched::{Now, Watch};
use sheets::{Sheet, Tab};

pub fn top(arguments: &TopArgs) -> Result<i32, Failure> {
    let on_screen = !arguments.once && !arguments.json;
    if on_screen && !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Failure::of(&errors::NO_TERMINAL, &[]));
    }
    let trace = arguments.trace.clone().or_else(trace_of_environment);
    let mut watch = Watch::new(arguments.table.as_deref(), trace.as_deref())?;
    if on_screen {
        return screen::run(&mut watch, arguments.interval);
    }
    watch.look();
    loop {
        std::thread::sleep(arguments.interval);
        let now = watch.look();
        match arguments.json {
            true => answer(serde_json::to_string(&now).unwrap_or_default())?,
            false => answer(page(&now))?,
        }
        if arguments.once {
            return Ok(0);
        }
    }
}

pub fn trace_of_environment() -> Option<PathBuf> {
    policy::environment::path_in(policy::environment::TRACE)
}

fn page(now: &Now) -> String {
    let mut out = heading(now);
    for tab in Tab::ALL {
        let sheet = Sheet::of(tab, now);
        if sheet.rows.is_empty() {
            continue;
        }
        let rows = sheet.rows.iter();
        let rows = rows.map(|row| row.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>());
        out += &format!("\n{}\n{}", tab.title(), columns(&sheet.head, rows));
    }
    out
}

/// What there is in all, on two lines.
fn heading(now: &Now) -> String {
    let Some(account) = &now.account else {
        let problem = now.problem.as_deref().unwrap_or_default();
        return format!("{}\n{problem}\n", now.table);
    };
    let rates = now.rates.as_ref().map_or(String::new(), |rates| {
        format!(
            ", {:.0} calls/s, {:.1}/s had to queue",
            rates.announced_per_second, rates.queued_per_second
        )
    });
    let events = now.events.as_ref().map_or(String::new(), |events| {
        let told = events
            .all
            .iter()
            .map(|(word, count)| format!("{count} {word}"));
        let told: Vec<String> = told.collect();
        match told.is_empty() {
            true => "; the trace has told nothing".to_owned(),
            false => format!("; told: {}", told.join(", ")),
        }
    });
    format!(
        "{}\n{} living, {} dead, {} files, {} in mixed use{rates}{events}\n",
        now.table,
        account.living(),
        account.dead(),
        account.files.len(),
        account.mixed().count()
    )
}
