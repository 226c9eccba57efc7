//! What the doctor has found, and the two ways in which it is told: a page for people with the verdict first, and JSON.

use std::fmt::{self, Display, Write};

use serde::Serialize;

use crate::say::plain;

/// How a finding counts.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Covered,
    /// To be known; nothing is at risk by it.
    Note,
    /// The library doesn't see it.
    Uncovered,
}

#[derive(Serialize)]
pub struct Finding {
    pub state: State,
    /// What it is about, in a word: the key for programs that read this.
    pub about: &'static str,
    pub what: String,
    /// What to do; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

#[derive(Serialize)]
pub struct Section {
    pub title: &'static str,
    pub findings: Vec<Finding>,
}

impl Section {
    pub fn new(title: &'static str) -> Section {
        Section {
            title,
            findings: Vec::new(),
        }
    }

    /// Nothing in it isn't.
    pub fn is_covered(&self) -> bool {
        self.findings.iter().all(|f| f.state != State::Uncovered)
    }

    pub fn covered(&mut self, about: &'static str, what: impl Display) {
        self.add(State::Covered, about, what, "");
    }

    pub fn note(&mut self, about: &'static str, what: impl Display, hint: impl Display) {
        self.add(State::Note, about, what, hint);
    }

    pub fn uncovered(&mut self, about: &'static str, what: impl Display, hint: impl Display) {
        self.add(State::Uncovered, about, what, hint);
    }

    pub fn add(
        &mut self,
        state: State,
        about: &'static str,
        what: impl Display,
        hint: impl Display,
    ) {
        self.findings.push(Finding {
            state,
            about,
            // Names of libraries and the like stand in it as files have them.
            what: plain(what.to_string().as_bytes()),
            hint: plain(hint.to_string().as_bytes()),
        });
    }
}

/// A file that a process has open.
#[derive(Serialize)]
pub struct OpenFile {
    pub number: i32,
    pub path: String,
    pub filesystem: String,
    /// `direct` or `buffered`.
    pub mode: &'static str,
    pub writes: bool,
    /// What the policy does with it: `enforce`, `observe`, `off`.
    pub fenced: &'static str,
    /// Who says so.
    pub rule: String,
}

#[derive(Serialize)]
pub struct Diagnosis {
    /// What was looked at: `program`, `process`, `machine`.
    pub kind: &'static str,
    pub target: String,
    pub covered: bool,
    pub verdict: String,
    pub sections: Vec<Section>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OpenFile>,
}

impl Diagnosis {
    pub fn new(
        kind: &'static str,
        target: String,
        sections: Vec<Section>,
        files: Vec<OpenFile>,
    ) -> Diagnosis {
        let all = sections.iter().flat_map(|section| &section.findings);
        let holes: Vec<&Finding> = all.filter(|f| f.state == State::Uncovered).collect();
        let covered = holes.is_empty();
        let subject = match kind {
            "machine" => "this machine".to_owned(),
            _ => target.clone(),
        };
        let verdict = match holes.as_slice() {
            [] if kind == "machine" => "programs can be fenced here".to_owned(),
            [] => format!("{subject}: all that can be seen of it is covered"),
            [only] => format!("{subject}: not all of it is covered: {}", only.what),
            [first, others @ ..] => format!(
                "{subject}: not all of it is covered: {}, and {} more",
                first.what,
                others.len()
            ),
        };
        Diagnosis {
            kind,
            target,
            covered,
            verdict,
            sections,
            files,
        }
    }
}

/// How many files are shown to people; JSON has all.
const SHOWN: usize = 40;

/// The findings for people, by section.
pub fn sections(all: &[Section]) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    for section in all.iter().filter(|s| !s.findings.is_empty()) {
        let _ = writeln!(out, "\n{}", section.title.to_uppercase());
        for finding in &section.findings {
            let mark = match finding.state {
                State::Covered => "ok",
                State::Note => "--",
                State::Uncovered => "NO",
            };
            let _ = writeln!(out, "  {mark}  {}", finding.what);
            if !finding.hint.is_empty() {
                let _ = writeln!(out, "      {}", finding.hint);
            }
        }
    }
    out
}

impl Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.verdict)?;
        out.write_str(&sections(&self.sections))?;
        if self.files.is_empty() {
            return Ok(());
        }
        let mut table = String::new();
        let width = |cell: fn(&OpenFile) -> &str| self.files.iter().map(|f| cell(f).len()).max();
        let (path, rule) = (width(|f| &f.path), width(|f| &f.rule));
        let (path, rule) = (
            path.unwrap_or(0).clamp(4, 60),
            rule.unwrap_or(0).clamp(4, 40),
        );
        writeln!(
            table,
            "\nOPEN FILES\n  {:>5}  {:<8}  {:<7}  {:<rule$}  {:<path$}  ON",
            "FD", "USED", "POLICY", "BY", "FILE"
        )?;
        for file in self.files.iter().take(SHOWN) {
            writeln!(
                table,
                "  {:>5}  {:<8}  {:<7}  {:<rule$}  {:<path$}  {}",
                file.number, file.mode, file.fenced, file.rule, file.path, file.filesystem
            )?;
        }
        out.write_str(&table)?;
        match self.files.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(out, "  and {more} more: --json shows all"),
        }
    }
}
