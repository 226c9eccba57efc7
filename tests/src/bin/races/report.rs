//! What the reader sees: progress, failures, the table, the closing line; and the JSON file.

use crate::cell::{Cell, Count};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::Path;

/// Colours, on a terminal only.
#[derive(Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    pub fn detect() -> Paint {
        Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn faint(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// One line about a finished cell.
pub fn line(cell: &Cell, paint: Paint) -> String {
    if let Some(why) = &cell.not_applicable {
        return paint.faint(&format!("doesn't apply: {why}"));
    }
    let number = |count: &Option<Count>| {
        count
            .as_ref()
            .map_or("?".to_owned(), |c| c.anomalies.to_string())
    };
    let mut text = format!(
        "anomalies: bare {}, fenced {}",
        number(&cell.bare),
        number(&cell.fenced)
    );
    if cell.kills.is_some() {
        text += &format!(", with kills {}", number(&cell.kills));
    }
    let verdict = if cell.failures.is_empty() {
        paint.good("ok")
    } else {
        paint.bad("FAILED")
    };
    format!("{text}  {verdict}")
}

/// Program × filesystem.
pub fn table(cells: &[Cell], paint: Paint) -> String {
    let width = cells
        .iter()
        .map(|cell| cell.app.len())
        .max()
        .unwrap_or(0)
        .max(7);
    let kills = cells.iter().any(|cell| cell.kills.is_some());
    let mut head = format!(
        "{:width$}  {:11}  {:>9}  {:>9}",
        "", "", "anomalies", "anomalies"
    );
    let mut second = format!(
        "{:width$}  {:11}  {:>9}  {:>9}",
        "program", "filesystem", "bare", "fenced"
    );
    if kills {
        head += &format!("  {:>9}", "fenced,");
        second += &format!("  {:>9}", "killed");
    }
    head += &format!("  {:>9}  {:>9}", "ops/s", "ops/s");
    second += &format!("  {:>9}  {:>9}", "bare", "fenced");
    let mut lines = vec![paint.bold(head.trim_end()), paint.bold(&second)];
    let mut last = "";
    for cell in cells {
        let name = if cell.app == last { "" } else { &cell.app };
        last = &cell.app;
        lines.push(row(cell, name, width, kills, paint));
    }
    lines.join("\n")
}

fn row(cell: &Cell, name: &str, width: usize, kills: bool, paint: Paint) -> String {
    let start = format!("{name:width$}  {:11}", cell.filesystem);
    if cell.not_applicable.is_some() {
        return format!("{start}  {}", paint.faint("doesn't apply here"));
    }
    let anomalies = |count: &Option<Count>| {
        let text = count
            .as_ref()
            .map_or("?".to_owned(), |c| c.anomalies.to_string());
        let padded = format!("{text:>9}");
        if text == "0" {
            paint.good(&padded)
        } else {
            paint.bad(&padded)
        }
    };
    let rate = |count: &Option<Count>| {
        format!(
            "{:>9}",
            count
                .as_ref()
                .map_or("?".to_owned(), |c| format!("{:.0}", c.rate()))
        )
    };
    let mut parts = vec![start, anomalies(&cell.bare), anomalies(&cell.fenced)];
    if kills {
        parts.push(anomalies(&cell.kills));
    }
    parts.extend([rate(&cell.bare), rate(&cell.fenced)]);
    let failed = if cell.failures.is_empty() {
        String::new()
    } else {
        paint.bad("  FAILED")
    };
    parts.join("  ") + &failed
}

/// Everything that is wrong, with the programs' own output.
pub fn failures(cells: &[Cell]) -> String {
    let text = |cell: &Cell| {
        let what = cell
            .failures
            .iter()
            .map(|f| format!("{} on {}: {f}\n", cell.app, cell.filesystem));
        what.collect::<String>()
    };
    cells.iter().map(text).collect()
}

pub struct Total {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Total {
    pub fn of(cells: &[Cell]) -> Total {
        let failed = cells
            .iter()
            .filter(|cell| !cell.failures.is_empty())
            .count();
        let skipped = cells
            .iter()
            .filter(|cell| cell.not_applicable.is_some())
            .count();
        Total {
            passed: cells.len() - failed - skipped,
            failed,
            skipped,
        }
    }

    pub fn line(&self) -> String {
        let skipped = if self.skipped > 0 {
            format!(", {} skipped", self.skipped)
        } else {
            String::new()
        };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }
}

#[derive(Serialize)]
struct Json<'a> {
    passed: usize,
    failed: usize,
    not_applicable: usize,
    cells: &'a [Cell],
}

pub fn write_json(cells: &[Cell], path: &Path) -> Result<(), String> {
    let total = Total::of(cells);
    let json = Json {
        passed: total.passed,
        failed: total.failed,
        not_applicable: total.skipped,
        cells,
    };
    let text = serde_json::to_string_pretty(&json).map_err(|e| e.to_string())?;
    std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))
}
