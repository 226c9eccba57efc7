//! A file of numbers: it is there as a whole or as it was before, whoever reads it and whatever ends us.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ending::Ending;
use super::gather::Gatherer;
use crate::failure::Failure;

pub fn write(
    file: &Path,
    every: Option<Duration>,
    gatherer: &mut Gatherer,
) -> Result<i32, Failure> {
    let ending = Ending::watch()?;
    loop {
        put(file, &gatherer.text()).map_err(|error| {
            let message = format!("{} can't be written: {error}", file.display());
            Failure::new(
                1,
                message,
                "name a file in a directory that you may write to",
            )
        })?;
        match every {
            Some(time) if ending.sleep(time) => {}
            _ => return Ok(0),
        }
    }
}

fn put(file: &Path, text: &str) -> std::io::Result<()> {
    // In the same directory, and not by a name that a collector reads.
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let done = fill(&temporary, text).and_then(|()| std::fs::rename(&temporary, file));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done
}

fn fill(temporary: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // Left by one of our number that was killed.
    let _ = std::fs::remove_file(temporary);
    let mut open = std::fs::File::options();
    let open = open.write(true).create_new(true).mode(0o644);
    let mut opened = open.open(temporary)?;
    opened.write_all(text.as_bytes())
}
