//! Makes what people read of the results that are kept in `docs/performance`: the page `docs/performance.md`, its picture
//! `docs/performance.svg`, and a part of `docs/costs.md`. Nothing is measured, so the same results always make the same files.

mod costs;
mod page;
mod picture;
mod results;
mod rows;
mod tables;
mod targets;
mod words;

use results::All;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Take the results from this directory; without it, from docs/performance
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Write performance.md, performance.svg and the part of costs.md, costs.part.md, into this directory; without it, into docs
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

const RESULTS: &str = "docs/performance";
const PAGE: &str = "docs/performance.md";
const PICTURE: &str = "docs/performance.svg";
const COSTS: &str = "docs/costs.md";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

pub fn render(args: &Args) -> Result<(), String> {
    let results = match &args.results {
        // Whose name is wrong would get pages without results.
        Some(dir) if !dir.is_dir() => return Err(format!("{}: no such directory", dir.display())),
        Some(dir) => results::read(dir)?,
        None => results::read(&root().join(RESULTS))?,
    };
    let made = Made::of(&results)?;
    let files = match &args.into {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            [
                (dir.join("performance.md"), made.page),
                (dir.join("performance.svg"), made.picture),
                (dir.join("costs.part.md"), made.costs),
            ]
        }
        None => {
            let costs = costs::with(&read(COSTS)?, &made.costs)?;
            [
                (root().join(PAGE), made.page),
                (root().join(PICTURE), made.picture),
                (root().join(COSTS), costs),
            ]
        }
    };
    for (file, text) in files {
        std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

/// A file of the repository.
fn read(name: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(name)).map_err(|e| format!("{name}: {e}"))
}

struct Made {
    page: String,
    picture: String,
    /// What stands between the two marks of `docs/costs.md`.
    costs: String,
}

impl Made {
    fn of(results: &All) -> Result<Made, String> {
        let rows = rows::of(results);
        Ok(Made {
            page: page::page(results, &rows),
            picture: picture::draw(&rows).map_err(|e| format!("the picture: {e}"))?,
            costs: costs::part(results, &rows),
        })
    }
}

#[cfg(test)]
mod tests;
