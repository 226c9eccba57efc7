//! Finds libpagefence.so, and makes sure that the loader will take it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kernel::errors;

use crate::elf::{self, Abi};
use crate::failure::Failure;
use crate::say::Shown;

/// Names the library, instead of the places where it is looked for.
const LIBRARY: &str = "PAGEFENCE_LIBRARY";
const NAME: &str = "libpagefence.so";
pub const PRELOAD: &str = "LD_PRELOAD";

/// The absolute path of a library that can be preloaded.
pub fn find() -> Result<PathBuf, Failure> {
    let path = match std::env::var_os(LIBRARY).filter(|path| !path.is_empty()) {
        Some(named) => named_by_user(Path::new(&named))?,
        None => beside_command()?,
    };
    check(&path)?;
    Ok(path)
}

fn named_by_user(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|error| {
        Failure::of(
            &errors::LIBRARY_NOT_THERE,
            &[&LIBRARY, &path.shown(), &error],
        )
    })
}

fn beside_command() -> Result<PathBuf, Failure> {
    let command = std::env::current_exe().map_err(|error| {
        Failure::own(
            format!("can't find myself, so not {NAME} either: {error}"),
            format!("mount /proc, or set {LIBRARY}"),
        )
    })?;
    let directory = command.parent().unwrap_or(Path::new("/"));
    let places = [directory.join(NAME), directory.join("../lib").join(NAME)];
    let found = places
        .iter()
        .find_map(|place| std::fs::canonicalize(place).ok());
    found.ok_or_else(|| {
        let [first, second] = places.each_ref().map(|place| place.shown());
        Failure::own(
            format!("{NAME} is not at {first} nor at {second}"),
            format!("build or install it there, or set {LIBRARY} to its path"),
        )
    })
}

fn check(path: &Path) -> Result<(), Failure> {
    let refuse = |reason: String| Failure::of(&errors::NOT_PRELOADED, &[&path.shown(), &reason]);
    // The loader takes both as separators, and nothing quotes them.
    if path
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| matches!(byte, b' ' | b':'))
    {
        return Err(refuse("its path has a blank or a colon in it".to_owned()));
    }
    // Before it is opened: a pipe would wait for a writer.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(refuse("it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let library = elf::read(&file).map_err(|error| refuse(error.to_string()))?;
    let own = Abi::OWN;
    match library {
        None => Err(refuse("it is no ELF file".to_owned())),
        Some(library) if library.abi != own => {
            Err(refuse(format!("it is {}, and not {own}", library.abi)))
        }
        Some(_) => Ok(()),
    }
}

/// The value of LD_PRELOAD with the library in front, once.
pub fn preload(library: &Path, before: Option<OsString>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    for other in before.iter().flat_map(|before| split(before.as_bytes())) {
        if other != library.as_os_str().as_bytes() {
            value.push(":");
            value.push(std::ffi::OsStr::from_bytes(other));
        }
    }
    value
}

fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| matches!(byte, b' ' | b':'))
        .filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_preloads_are_kept_and_ours_comes_first_and_once() {
        let ours = Path::new("/lib/p.so");
        assert_eq!(preload(ours, None), "/lib/p.so");
        assert_eq!(preload(ours, Some("".into())), "/lib/p.so");
        let both = preload(ours, Some("/a.so /lib/p.so:b.so".into()));
        assert_eq!(both, "/lib/p.so:/a.so:b.so");
    }
}
