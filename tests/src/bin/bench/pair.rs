//! The lock pair: taking a free range and letting go of it, as the lock table's own example measures it.

use crate::statistics::Spread;
use pagefence_tests::run::run;
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const RUNS: usize = 3;

#[derive(Serialize)]
pub struct Line {
    pub what: String,
    pub ns: Spread,
}

pub fn measure(program: &Path) -> Result<Vec<Line>, String> {
    let mut lines: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..RUNS {
        let outcome = run(&mut Command::new(program), Duration::from_secs(60))
            .map_err(|e| format!("{}: {e}", program.display()))?;
        if outcome.code() != 0 || outcome.hang.is_some() {
            return Err(format!("{}: {}", program.display(), outcome.report()));
        }
        for (what, ns) in outcome.stdout.lines().filter_map(parse) {
            match lines.iter_mut().find(|(known, _)| *known == what) {
                Some((_, values)) => values.push(ns),
                None => lines.push((what, vec![ns])),
            }
        }
    }
    if lines.is_empty() {
        return Err(format!("{} printed no figures", program.display()));
    }
    let line = |(what, values)| Spread::of(values).map(|ns| Line { what, ns });
    Ok(lines.into_iter().filter_map(line).collect())
}

/// `WHAT: NUMBER ns`
fn parse(line: &str) -> Option<(String, f64)> {
    let (what, value) = line.rsplit_once(':')?;
    let ns = value.trim().strip_suffix("ns")?.trim().parse().ok()?;
    Some((what.trim().to_owned(), ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_example() {
        let line = "hold, release,   7 others hold:   40.7 ns";
        let (what, ns) = parse(line).unwrap();
        assert_eq!(
            (what.as_str(), ns),
            ("hold, release,   7 others hold", 40.7)
        );
        assert_eq!(parse("nothing"), None);
    }
}
