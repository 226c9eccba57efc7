//! The figures that are a ratio of fenced through bare, each with its target.

use super::results::All;
use super::targets;
use crate::statistics::{Series, Summary};

#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub what: &'static str,
    pub filesystem: &'a str,
    pub name: &'a str,
    pub mixed: bool,
    pub summary: Summary,
    pub target: Option<f64>,
}

impl Row<'_> {
    /// As it is shown, with two digits: what reads 1.03 isn't more than 1.03.
    pub fn misses(&self) -> bool {
        let shown = (self.summary.ratio.median * 100.0).round() / 100.0;
        self.target.is_some_and(|target| shown > target)
    }
}

/// Those that were measured, in the order of their files.
pub fn of(all: &All) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut add = |what, filesystem, name, mixed, series: &Series| {
        if let Some(summary) = series.summary() {
            rows.push(Row {
                what,
                filesystem,
                name,
                mixed,
                summary,
                target: targets::of(what, name, filesystem, mixed),
            });
        }
    };
    for (what, report) in [("io", &all.io), ("aio", &all.aio)] {
        for on in report.iter().flat_map(|r| &r.results.filesystems) {
            for figure in &on.figures {
                add(what, &on.filesystem, &figure.name, false, &figure.one_mode);
                add(what, &on.filesystem, &figure.name, true, &figure.mixed);
            }
        }
    }
    for figure in all.programs.iter().flat_map(|r| &r.results.figures) {
        let (filesystem, name) = (&figure.filesystem, &figure.name);
        add("programs", filesystem, name, figure.mixed, &figure.ns);
    }
    rows
}
