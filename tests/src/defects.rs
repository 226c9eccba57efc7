//! A copy of the workspace to be broken: deliberate defects, each of which some check must find.

use crate::run::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For a build, and for copying.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// What is built and what it needs.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "kernel",
    "lock-table",
    "policy",
    "protocol",
    "shim",
    "cli",
    "test-apps",
    "tests",
];

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
        command.arg("-r").args(PARTS.map(|part| source.join(part)));
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

    /// Does something while the defect `name` is in a file of the copy.
    pub fn with<T>(
        &self,
        name: &str,
        file: &str,
        (find, replace): (&str, &str),
        f: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let path = self.tree().join(file);
        let error = |e: std::io::Error| format!("{}: {e}", path.display());
        let whole = std::fs::read_to_string(&path).map_err(error)?;
        let times = whole.matches(find).count();
        if times != 1 {
            return Err(format!(
                "{file}: what the defect '{name}' replaces stands there {times} times: adapt mutants.toml"
            ));
        }
        std::fs::write(&path, whole.replace(find, replace)).map_err(error)?;
        let done = f();
        std::fs::write(&path, whole).map_err(error)?;
        done
    }
}
