//! A copy of the workspace to be broken: deliberate defects, each of which some check must find.

use crate::run::run;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// One deliberate defect of a list (`mutants.toml`), and how it is found.
#[derive(Deserialize)]
pub struct Defect<How> {
    /// What goes wrong, and what is left out.
    pub name: String,
    /// From the workspace.
    pub file: String,
    /// Occurs once in the file.
    find: String,
    replace: String,
    #[serde(flatten)]
    pub how: How,
}

/// The defects of a list.
pub fn list<How: DeserializeOwned>(file: &Path) -> Result<Vec<Defect<How>>, String> {
    #[derive(Deserialize)]
    struct List<How> {
        mutant: Vec<Defect<How>>,
    }
    let error = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| error(&e))?;
    let list: List<How> = toml::from_str(&text).map_err(|e| error(&e))?;
    Ok(list.mutant)
}

/// The workspace.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl<How> Defect<How> {
    /// The file with it, and without. Where the code has changed, its defect must, too.
    pub fn of(&self, source: &Path) -> Result<(String, String), String> {
        let file = source.join(&self.file);
        let whole =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        match whole.matches(&self.find).count() {
            1 => Ok((whole.replace(&self.find, &self.replace), whole)),
            times => Err(format!(
                "{}: what the defect '{}' replaces stands there {times} times: adapt mutants.toml",
                self.file, self.name
            )),
        }
    }
}

/// How many checks passed and failed.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    pub fn add(&mut self, ok: bool) {
        *(if ok {
            &mut self.passed
        } else {
            &mut self.failed
        }) += 1;
    }
}

/// The last words of the program `name`.
pub fn conclude(name: &str, all: Result<Tally, String>) -> ExitCode {
    match all {
        Ok(Tally { passed, failed }) => {
            println!("{passed} passed, {failed} failed");
            ExitCode::from(u8::from(failed > 0 || passed == 0))
        }
        Err(message) => {
            eprintln!("{name}: {message}");
            ExitCode::from(2)
        }
    }
}

/// For a build, and for copying.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// What is built and what it needs: the workspace's members, and what stands beside them.
fn parts(from: &Path) -> Result<Vec<String>, String> {
    let manifest = from.join("Cargo.toml");
    let read = || {
        let text = std::fs::read_to_string(&manifest).ok()?;
        let whole: toml::Table = toml::from_str(&text).ok()?;
        whole.get("workspace")?.get("members")?.as_array().cloned()
    };
    let members =
        read().ok_or_else(|| format!("{}: no members of a workspace", manifest.display()))?;
    let members = members.iter().filter_map(|member| member.as_str());
    let own_directory = members.filter(|member| !member.contains('/'));
    Ok(["Cargo.toml", "Cargo.lock"]
        .into_iter()
        .chain(own_directory)
        .map(str::to_owned)
        .collect())
}

/// The workspace once more, within the target directory.
pub struct Copy {
    pub root: PathBuf,
}

impl Copy {
    /// `name`: of its directory. What is built there stays for the next time.
    pub fn make(source: &Path, name: &str) -> Result<Copy, String> {
        let here = std::env::current_exe().map_err(|e| e.to_string())?;
        let target = here.ancestors().nth(2).ok_or("no target directory")?;
        let root = target.join(name);
        let tree = root.join("tree");
        let _ = std::fs::remove_dir_all(&tree);
        std::fs::create_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
        let mut command = Command::new("cp");
        // Not with the times of the originals: older than what was last built with a defect, they wouldn't be built.
        command
            .arg("-r")
            .args(parts(source)?.iter().map(|part| source.join(part)));
        let outcome = run(command.arg(&tree), PATIENCE).map_err(|e| format!("cp: {e}"))?;
        match outcome.code() {
            0 => Ok(Copy { root }),
            _ => Err(outcome.report()),
        }
    }

    pub fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// A command of cargo's in the copy, for what is built often and run briefly.
    pub fn cargo(&self, target: &str) -> Command {
        let mut command = Command::new("cargo");
        command
            .current_dir(self.tree())
            .env("CARGO_TARGET_DIR", self.root.join(target))
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_INCREMENTAL", "1")
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// Does something while the defect is in its file of the copy.
    pub fn with<T, How>(
        &self,
        defect: &Defect<How>,
        f: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let path = self.tree().join(&defect.file);
        let (broken, whole) = defect.of(&self.tree())?;
        let write = |text: &str| {
            std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
        };
        write(&broken)?;
        let done = f();
        write(&whole)?;
        done
    }
}
