//! Compares two directories: names, kinds, modes, link targets, contents.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is in `left` and `right` that differs, one line each; `ignore` names paths (relative, or
/// just a file name) whose contents may.
pub fn differences(left: &Path, right: &Path, ignore: &[&str]) -> Vec<String> {
    let (a, b) = (entries(left), entries(right));
    let mut lines = Vec::new();
    for name in a.keys().filter(|n| !b.contains_key(*n)) {
        lines.push(format!("{}: missing when fenced", name.display()));
    }
    for (name, theirs) in &b {
        let skipped = ignore.iter().any(|i| name.ends_with(i));
        match a.get(name) {
            None => lines.push(format!("{}: only there when fenced", name.display())),
            Some(_) if skipped => {}
            Some(ours) => {
                let found = compare(&left.join(name), ours, &right.join(name), theirs);
                lines.extend(found.map(|what| format!("{}: {what}", name.display())));
            }
        }
    }
    lines
}

fn entries(root: &Path) -> BTreeMap<PathBuf, Metadata> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let list = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for path in list.map(|entry| entry.expect("a directory entry").path()) {
            let meta = fs::symlink_metadata(&path).expect("metadata of what was just listed");
            if meta.is_dir() {
                todo.push(path.clone());
            }
            let name = path
                .strip_prefix(root)
                .expect("a path below its root")
                .to_path_buf();
            found.insert(name, meta);
        }
    }
    found
}

fn compare(a: &Path, am: &Metadata, b: &Path, bm: &Metadata) -> Option<String> {
    if am.mode() != bm.mode() {
        return Some(format!("mode {:o} bare, {:o} fenced", am.mode(), bm.mode()));
    }
    let kind = am.file_type();
    if kind.is_symlink() {
        let (x, y) = (fs::read_link(a).ok(), fs::read_link(b).ok());
        return (x != y).then(|| format!("links to {x:?} bare, {y:?} fenced"));
    }
    if !kind.is_file() || kind.is_fifo() {
        return None;
    }
    if am.len() != bm.len() {
        return Some(format!("{} bytes bare, {} fenced", am.len(), bm.len()));
    }
    let read = |p: &Path| fs::read(p).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
    let (x, y) = (read(a), read(b));
    let at = x.iter().zip(&y).position(|(x, y)| x != y)?;
    Some(format!(
        "byte {at} is {:#04x} bare, {:#04x} fenced",
        x[at], y[at]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_kind_of_difference() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |dir: &Path, name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        put(left.path(), "same", "x");
        put(right.path(), "same", "x");
        assert!(differences(left.path(), right.path(), &[]).is_empty());
        put(left.path(), "content", "abc");
        put(right.path(), "content", "abd");
        put(left.path(), "gone", "");
        put(right.path(), "new", "");
        put(left.path(), "size", "1");
        put(right.path(), "size", "12");
        assert_eq!(differences(left.path(), right.path(), &[]).len(), 4);
        assert_eq!(
            differences(left.path(), right.path(), &["content", "size"]).len(),
            2
        );
    }
}
