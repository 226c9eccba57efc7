//! What a unit needs so that the library comes into its service and joins the machine's table: lines of a drop-in, each with
//! the reason, or a refusal where no line can give it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::unit::Unit;
use crate::library::{PRELOAD, preload};

pub const GROUP: &str = "pagefence";
const TABLE: &str = "/run/pagefence";
const POLICY: &str = "/etc/pagefence";
pub const FIRST_LINE: &str =
    "# Made by `pagefence wrap`: fences this service. `pagefence wrap --remove` takes it away.";

/// A setting that keeps the service from being fenced.
#[derive(Serialize)]
pub struct Refusal {
    pub setting: String,
    pub why: String,
}

/// Settings that are often asked about, and need no line.
const NOTHING: [(&str, &str); 5] = [
    (
        "PrivateTmp",
        "files are told apart by device and inode, not by name",
    ),
    ("NoNewPrivileges", "the library gains none"),
    (
        "MemoryDenyWriteExecute",
        "the library has no memory that is both written and run",
    ),
    (
        "PrivateUsers",
        "the group is given before, and counts within",
    ),
    ("PrivateDevices", "the library opens no device"),
];

/// What the library and its table need of the kernel (see `protocol`'s life::needs), and what is missed without.
pub const CALLS: &str = "read write pread64 pwrite64 preadv preadv2 pwritev pwritev2 openat close lseek fcntl dup3 fstat newfstatat \
    statx clock_gettime fstatfs readlink readlinkat faccessat mmap munmap mprotect madvise futex rt_sigprocmask prctl getpid geteuid fallocate \
    linkat unlink unlinkat membarrier sync_file_range socket setsockopt \
    connect getsockopt recvmsg";

pub struct Needs<'a> {
    unit: &'a Unit,
    library: &'a Path,
    lines: Vec<String>,
    refused: Vec<Refusal>,
}

/// The drop-in's text, or why there can be none. `own` is where it will stand.
pub fn of(unit: &Unit, library: &Path, own: &Path) -> Result<String, Vec<Refusal>> {
    let mut needs = Needs {
        unit,
        library,
        lines: vec![FIRST_LINE.to_owned(), "[Service]".to_owned()],
        refused: Vec::new(),
    };
    let value = needs.preloads();
    needs.groups();
    needs.sees();
    needs.writes();
    needs.calls();
    for (setting, why) in NOTHING {
        if unit
            .says(setting)
            .is_some_and(|value| !["no", "false", "0"].contains(&value.as_str()))
        {
            needs
                .lines
                .push(format!("# {setting}= needs nothing: {why}."));
        }
    }
    let text = needs.lines.join("\n") + "\n";
    needs.is_kept(&text, &value, own);
    match needs.refused.is_empty() {
        true => Ok(text),
        false => Err(needs.refused),
    }
}

impl Needs<'_> {
    fn line(&mut self, why: &str, line: String) {
        self.lines.push(format!("# {why}"));
        self.lines.push(line);
    }

    fn refuse(&mut self, setting: &str, why: impl Into<String>) {
        self.refused.push(Refusal {
            setting: setting.to_owned(),
            why: why.into(),
        });
    }

    /// With what the unit preloads already behind it.
    fn preloads(&mut self) -> String {
        let before = self.unit.variable(PRELOAD).map(|(_, value)| value);
        let value = preload(self.library, before.clone().map(OsString::from));
        // A percent sign of the library's path is no specifier; those that the unit has written are.
        let ours = self.library.to_string_lossy();
        let value = value
            .to_string_lossy()
            .replacen(&*ours, &ours.replace('%', "%%"), 1);
        let why = match before {
            None => "The library comes first in every program of this service.",
            Some(_) => {
                "The library comes first in every program of this service, and then what the unit preloads itself."
            }
        };
        self.line(why, format!("Environment=\"{PRELOAD}={value}\""));
        value
    }

    fn groups(&mut self) {
        let why = "Whoever is in this group shares the machine's lock table: with another one nothing would be excluded.";
        self.line(why, format!("SupplementaryGroups={GROUP}"));
    }

    /// Entries of a list of paths that hide this one, or hold for it.
    fn over(&self, setting: &str, path: &Path) -> bool {
        let list = self.unit.list(setting).into_iter();
        let mut entries = list.map(|(_, entry)| {
            let entry = entry.trim_start_matches(['-', '+']).to_owned();
            let end = if setting == "TemporaryFileSystem" {
                entry.find(':')
            } else {
                None
            };
            entry[..end.unwrap_or(entry.len())].to_owned()
        });
        entries.any(|entry| path.starts_with(&entry))
    }

    /// The library, the machine's table and its policy have to be where the service sees them.
    fn sees(&mut self) {
        let library = self.library.to_owned();
        let wanted = [
            (library.as_path(), true),
            (Path::new(TABLE), false),
            (Path::new(POLICY), true),
        ];
        if self.unit.says("RootImage").is_some() {
            let why = "an image may have no place for the library to be mounted at: install Pagefence in it, and wrap the unit there (--root)";
            self.refuse("RootImage", why);
        }
        for (path, only_read) in wanted {
            if self.over("InaccessiblePaths", path) {
                let why = format!(
                    "it hides {}, and nothing can be mounted below what it hides: name less in it",
                    path.display()
                );
                self.refuse("InaccessiblePaths", why);
            } else if self.unit.says("RootDirectory").is_some() {
                self.bind(
                    path,
                    only_read,
                    "RootDirectory= is another root, in which this isn't.",
                );
            } else if self.over("TemporaryFileSystem", path) {
                self.bind(path, only_read, "TemporaryFileSystem= hides this.");
            }
        }
        let home = |path: &PathBuf| {
            ["/home", "/root", "/run/user"]
                .iter()
                .any(|home| path.starts_with(home))
        };
        let protects = self
            .unit
            .says("ProtectHome")
            .is_some_and(|value| ["yes", "true", "on", "1", "tmpfs"].contains(&value.as_str()));
        if protects && home(&library) {
            let why = format!(
                "it hides {}: install Pagefence outside of homes",
                library.display()
            );
            self.refuse("ProtectHome", why);
        }
        if self.over("NoExecPaths", &library) && !self.over("ExecPaths", &library) {
            let line = format!("ExecPaths={}", library.display());
            self.line("NoExecPaths= forbids to run what is in the library.", line);
        }
    }

    fn bind(&mut self, path: &Path, only_read: bool, why: &str) {
        let setting = if only_read {
            "BindReadOnlyPaths"
        } else {
            "BindPaths"
        };
        self.line(why, format!("{setting}=-{}", path.display()));
    }

    fn writes(&mut self) {
        let strict = self.unit.says("ProtectSystem").as_deref() == Some("strict");
        let why = if strict {
            "ProtectSystem=strict leaves nothing to be written to, and the table is."
        } else if self.unit.is_on("DynamicUser") {
            "DynamicUser= leaves nothing to be written to (ProtectSystem=strict), and the table is."
        } else if self.over("ReadOnlyPaths", Path::new(TABLE)) {
            "ReadOnlyPaths= leaves the table only to be read, and it is written to."
        } else {
            return;
        };
        self.line(why, format!("ReadWritePaths=-{TABLE}"));
    }

    /// In a list of what is allowed this allows more; in one of what is forbidden it forbids less.
    fn calls(&mut self) {
        if self.unit.says("SystemCallFilter").is_some() {
            let why = "SystemCallFilter= may leave these out, and the library needs them in every program.";
            self.line(why, format!("SystemCallFilter={CALLS}"));
        }
        if self.unit.says("RestrictAddressFamilies").is_some() {
            let why = "RestrictAddressFamilies= may leave this out, and the machine's table is handed out by such a socket.";
            self.line(why, "RestrictAddressFamilies=AF_UNIX".to_owned());
        }
    }

    /// Whether what is preloaded is what was written, once all files of the unit have had their say.
    fn is_kept(&mut self, text: &str, value: &str, own: &Path) {
        let all = self.unit.with(own, text);
        match all.variable(PRELOAD) {
            Some((_, kept)) if kept == value => {}
            Some((by, _)) => self.refuse("Environment", format!("{} says {PRELOAD} anew, behind {}: take it out there", by.display(), own.display())),
            None => self.refuse("Environment", format!("a drop-in behind {} begins the environment anew: move what it says into one of an earlier name", own.display())),
        }
        if all
            .list("UnsetEnvironment")
            .iter()
            .any(|(_, name)| name == PRELOAD || name.starts_with("LD_PRELOAD="))
        {
            self.refuse(
                "UnsetEnvironment",
                format!("it takes {PRELOAD} away: take it out there"),
            );
        }
        for (_, file) in all.list("EnvironmentFile") {
            let path = file.trim_start_matches('-');
            let held = std::fs::read_to_string(path).unwrap_or_default();
            if held
                .lines()
                .any(|line| line.trim_start().starts_with("LD_PRELOAD="))
            {
                let why = format!("{path} says {PRELOAD}, over what units say: take it out there");
                self.refuse("EnvironmentFile", why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CALLS;

    /// Those that the library itself asks filters for, but where another one does as well or a program's own are meant.
    #[test]
    fn the_calls_are_those_that_the_library_asks_for() {
        let asked = concat!(
            include_str!("../../../protocol/src/life/needs.rs"),
            include_str!("../../../lock-table/src/served.rs")
        );
        let ours: Vec<&str> = CALLS.split_whitespace().collect();
        let of_programs = [
            "open", "openat2", "creat", "recvmsg", "fork", "clone", "clone3", "execve", "execveat",
        ];
        let mut all = 0;
        for (at, _) in asked.match_indices("libc::SYS_") {
            let name = &asked[at + "libc::SYS_".len()..];
            let name = &name[..name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(name.len())];
            all += 1;
            assert!(
                ours.contains(&name) || of_programs.contains(&name),
                "{name}"
            );
        }
        assert!(all > 40, "{all}");
    }
}
