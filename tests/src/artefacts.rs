//! Finds what the workspace built, beside the running test, and refuses what is older than its
//! sources: a test of yesterday's library proves nothing.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

const ADVICE: &str = "run `cargo build --workspace --release --bins --lib --examples` first";

/// The library that is preloaded.
pub fn library() -> Result<PathBuf, String> {
    fresh("libpagefence.so", "libpagefence.d")
}

/// A library that does nothing.
pub fn pass_through() -> Result<PathBuf, String> {
    fresh("libpass_through.so", "libpass_through.d")
}

/// The `pagefence` command.
pub fn command() -> Result<PathBuf, String> {
    fresh("pagefence", "pagefence.d")
}

/// One of the programs in `test-apps`.
pub fn app(name: &str) -> Result<PathBuf, String> {
    fresh(name, &format!("{name}.d"))
}

/// The same as it was built into another folder than this test's.
pub fn app_in(folder: &Path, name: &str) -> Result<PathBuf, String> {
    fresh_in(folder, name, &format!("{name}.d"))
}

/// One of the examples beside them.
pub fn example(name: &str) -> Result<PathBuf, String> {
    fresh(&format!("examples/{name}"), &format!("examples/{name}.d"))
}

/// The libc that this test itself runs with.
pub fn libc() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let path = maps.lines().find_map(|line| {
        line.split_whitespace()
            .last()
            .filter(|p| p.ends_with("/libc.so.6"))
    });
    PathBuf::from(path.expect("a dynamically linked test"))
}

/// The directory that cargo puts finished artefacts into: `target/<profile>`.
fn directory() -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|e| format!("where is this test? {e}"))?;
    let beside = exe.parent().ok_or("a test without a directory")?;
    // Tests are in `deps`, binaries one level up.
    let dir = if beside.ends_with("deps") {
        beside.parent().unwrap_or(beside)
    } else {
        beside
    };
    Ok(dir.to_path_buf())
}

fn fresh(file: &str, dep_info: &str) -> Result<PathBuf, String> {
    fresh_in(&directory()?, file, dep_info)
}

fn fresh_in(dir: &Path, file: &str, dep_info: &str) -> Result<PathBuf, String> {
    let path = dir.join(file);
    let built = modified(&path).ok_or(format!("{} is not there: {ADVICE}", path.display()))?;
    let list = dir.join(dep_info);
    let text =
        std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}: {ADVICE}", list.display()))?;
    let newer = sources(&text)
        .into_iter()
        .find(|s| modified(s).is_none_or(|t| t > built));
    match newer {
        Some(source) => Err(format!(
            "{} is older than {}: {ADVICE}",
            path.display(),
            source.display()
        )),
        None => Ok(path),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

/// The files right of the colon in cargo's dep-info, where a blank in a name is `\ `.
fn sources(dep_info: &str) -> Vec<PathBuf> {
    let list = dep_info.split_once(": ").map_or("", |(_, list)| list);
    list.replace("\\ ", "\0")
        .split_whitespace()
        .map(|name| PathBuf::from(name.replace('\0', " ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_names_with_blanks() {
        let list = sources("/t/release/x: /a/b.rs /a\\ b/c.rs\n");
        assert_eq!(list, [PathBuf::from("/a/b.rs"), PathBuf::from("/a b/c.rs")]);
    }
}
