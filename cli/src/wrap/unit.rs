//! What a unit of systemd says, of its own file and all drop-ins: later lines win, lists grow, an empty value begins anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, OWN_FAILURE, USAGE};
use crate::say::Shown;

/// The drop-in that is ours.
pub const OWN: &str = "pagefence.conf";

/// Where systemd looks, what comes first in front.
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Its files in the order in which they count, without ours.
pub struct Unit {
    files: Vec<(PathBuf, String)>,
}

impl Unit {
    pub fn read(root: &Path, name: &str) -> Result<Unit, Failure> {
        let runs = root == Path::new("/") && Path::new("/run/systemd/system").is_dir();
        let paths = match runs {
            true => asked(name)?,
            false => looked_for(root, name),
        };
        if paths.is_empty() {
            let advice = "`systemctl list-unit-files` shows those that there are";
            let message = format!("there is no unit {}", name.shown());
            return Err(Failure::new(USAGE, message, advice));
        }
        let mut files = Vec::new();
        for path in paths {
            if path.file_name().is_none_or(|name| name != OWN) {
                let failed =
                    |error| Failure::new(OWN_FAILURE, format!("{}: {error}", path.shown()), "");
                files.push((
                    path.clone(),
                    std::fs::read_to_string(&path).map_err(failed)?,
                ));
            }
        }
        Ok(Unit { files })
    }

    /// With one more drop-in, at the place that its name has among the others.
    pub fn with(&self, name: &Path, text: &str) -> Unit {
        let mut files = self.files.clone();
        let after = |path: &Path| path.file_name() > name.file_name();
        let others = files.iter().skip(1);
        let at = 1 + others.take_while(|(path, _)| !after(path)).count();
        files.insert(at, (name.to_owned(), text.to_owned()));
        Unit { files }
    }

    /// Every value that a setting of the service is given, with the file that says so.
    fn given(&self, key: &str) -> Vec<(&Path, String)> {
        let mut all = Vec::new();
        for (path, text) in &self.files {
            let values = settings(text).filter(|(name, _)| name == key);
            all.extend(values.map(|(_, value)| (path.as_path(), value)));
        }
        all
    }

    /// What holds of a setting that has one value.
    pub fn says(&self, key: &str) -> Option<String> {
        let last = self.given(key).pop()?.1;
        Some(last).filter(|value| !value.is_empty())
    }

    pub fn is_on(&self, key: &str) -> bool {
        let value = self.says(key).unwrap_or_default();
        ["1", "yes", "true", "on"].contains(&value.to_lowercase().as_str())
    }

    /// What holds of a setting that is a list, with the file that says each.
    pub fn list(&self, key: &str) -> Vec<(&Path, String)> {
        let mut all = Vec::new();
        for (path, value) in self.given(key) {
            match words(&value) {
                none if none.is_empty() => all.clear(),
                some => all.extend(some.into_iter().map(|word| (path, word))),
            }
        }
        all
    }

    /// A variable's value, and the file that gives it.
    pub fn variable(&self, name: &str) -> Option<(&Path, String)> {
        let prefix = format!("{name}=");
        let all = self.list("Environment").into_iter().rev();
        let mut named = all.filter_map(|(path, word)| {
            let value = word.strip_prefix(&prefix)?.to_owned();
            Some((path, value))
        });
        named.next()
    }
}

/// Of systemd itself, which knows more places than these.
fn asked(name: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--property=FragmentPath,DropInPaths", "--", name]);
    let output = command
        .output()
        .map_err(|error| Failure::own(format!("systemctl: {error}"), ""))?;
    Ok(shown(&String::from_utf8_lossy(&output.stdout)))
}

/// `systemctl show` names the unit's own file, then its drop-ins in their order.
fn shown(text: &str) -> Vec<PathBuf> {
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let own = of("FragmentPath=").filter(|path| !path.is_empty());
    let dropped = of("DropInPaths=").unwrap_or_default().split_whitespace();
    own.into_iter()
        .chain(own.into_iter().flat_map(|_| dropped.clone()))
        .map(PathBuf::from)
        .collect()
}

fn looked_for(root: &Path, name: &str) -> Vec<PathBuf> {
    let folders = FOLDERS.map(|folder| root.join(folder));
    let names = names(name);
    let there = |name: &String| folders.iter().map(|f| f.join(name)).find(|p| p.is_file());
    let Some(own) = names.iter().take(2).find_map(there) else {
        return Vec::new();
    };
    // Of the same name the one in front counts; and they count in the order of their names.
    let mut dropped = BTreeMap::new();
    for folder in &folders {
        for name in &names {
            let within = std::fs::read_dir(folder.join(format!("{name}.d")));
            for entry in within.into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|end| end == "conf") {
                    dropped.entry(entry.file_name()).or_insert(entry.path());
                }
            }
        }
    }
    std::iter::once(own).chain(dropped.into_values()).collect()
}

/// The names under which its files stand: its own, its template's, and for drop-ins those of its kind.
fn names(name: &str) -> Vec<String> {
    let stem = name.strip_suffix(".service").unwrap_or(name);
    let mut all = vec![name.to_owned()];
    if let Some((template, _)) = stem.split_once('@') {
        all.push(format!("{template}@.service"));
    } else {
        all.push(name.to_owned());
    }
    let dashes = stem.match_indices('-').rev();
    all.extend(dashes.map(|(at, _)| format!("{}-.service", &stem[..at])));
    all.push("service".to_owned());
    all
}

/// What the section [Service] sets.
fn settings(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) || (line.is_empty() && !goes_on) {
            continue;
        }
        let part = line.strip_suffix('\\');
        let text = part.unwrap_or(line);
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last} {text}"),
            None => lines.push(text.to_owned()),
        }
        goes_on = part.is_some();
    }
    let mut inside = false;
    lines.into_iter().filter_map(move |line| {
        if line.starts_with('[') {
            inside = line == "[Service]";
            return None;
        }
        let (key, value) = line.split_once('=').filter(|_| inside)?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    })
}

/// Words as systemd reads them: blanks part them, quotes hold them together.
fn words(value: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in value.chars() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, None) if letter.is_whitespace() => all.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(files: &[(&str, &str)]) -> Unit {
        let files = files
            .iter()
            .map(|(path, text)| (path.into(), text.to_string()));
        Unit {
            files: files.collect(),
        }
    }

    #[test]
    fn later_lines_win_lists_grow_and_an_empty_value_begins_anew() {
        let own = "[Unit]\nUser=not\n[Service]\nUser=a\n# User=b\nReadOnlyPaths=/a \\\n  /b\nEnvironment=\"A=1 2\" LD_PRELOAD=x.so\n";
        let all = unit(&[
            ("u", own),
            ("u.d/a.conf", "[Service]\nUser=c\nReadOnlyPaths=/c\n"),
        ]);
        assert_eq!(all.says("User").as_deref(), Some("c"));
        let list = |unit: &Unit| -> Vec<String> {
            let list = unit.list("ReadOnlyPaths").into_iter();
            list.map(|(_, word)| word).collect()
        };
        assert_eq!(list(&all), ["/a", "/b", "/c"]);
        assert_eq!(all.variable("A").unwrap().1, "1 2");
        let reset = all.with(
            Path::new("u.d/b.conf"),
            "[Service]\nReadOnlyPaths=\nEnvironment=LD_PRELOAD=y.so\n",
        );
        assert_eq!(list(&reset), [""; 0]);
        let (by, value) = reset.variable("LD_PRELOAD").unwrap();
        assert_eq!((by, value.as_str()), (Path::new("u.d/b.conf"), "y.so"));
        // One of an earlier name doesn't win.
        let before = all.with(Path::new("u.d/0.conf"), "[Service]\nUser=d\n");
        assert_eq!(before.says("User").as_deref(), Some("c"));
    }

    #[test]
    fn systemd_names_the_files() {
        let text = "DropInPaths=/a/b.conf /c/d.conf\nFragmentPath=/u.service\n";
        assert_eq!(
            shown(text),
            ["/u.service", "/a/b.conf", "/c/d.conf"].map(PathBuf::from)
        );
        assert!(shown("FragmentPath=\nDropInPaths=\n").is_empty());
    }
}
