//! A file that is there when it is whole: it is written under another name beside its own. What is no regular file (a pipe,
//! /dev/stdout) is written to as it is.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::failure::Failure;

/// Err: it can't be written; nothing is left of it, and what was there before stays.
pub fn put(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    try_to(path, write).map_err(|error| {
        let message = format!("can't write {}: {error}", path.display());
        Failure::new(1, message, advice(&error))
    })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make the directory first, or name a file elsewhere",
        io::ErrorKind::StorageFull => "make room, or name a file elsewhere",
        _ => "name a file in a directory that you may write to",
    }
}

fn try_to(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // A link stays, and leads to the new one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut out = BufWriter::new(OpenOptions::new().write(true).open(&path)?);
        write(&mut out)?;
        return out.flush();
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // As any new file: what the umask leaves of it.
    let mut file = tempfile::Builder::new()
        .prefix(".pagefence-report-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    {
        let mut out = BufWriter::new(file.as_file_mut());
        write(&mut out)?;
        out.flush()?;
    }
    file.persist(&path).map_err(|failed| failed.error)?;
    Ok(())
}
