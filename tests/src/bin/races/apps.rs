//! The list of programs that race, as `test-apps/apps.toml` has it.

use serde::Deserialize;
use std::path::Path;
use std::process::Command;

#[derive(Deserialize)]
struct List {
    app: Vec<App>,
}

/// One program, what it needs, and where the bare kernel was seen to fail.
#[derive(Clone, Deserialize)]
pub struct App {
    pub name: String,
    /// One of a program's ways by itself: which program, and the way.
    program: Option<String>,
    pub way: Option<String>,
    #[serde(default)]
    pub needs_atomic: bool,
    #[serde(default)]
    pub needs_syscalls: bool,
    /// Filesystems on which a bare run that loses nothing proves nothing.
    must_fail: Vec<String>,
    /// It loses nothing on the bare kernel either, and shows what a fence might break.
    #[serde(default)]
    pub always_clean: bool,
    #[serde(default)]
    not_applicable: Vec<String>,
}

impl App {
    pub fn program(&self) -> &str {
        self.program.as_ref().unwrap_or(&self.name)
    }

    /// The program with all its ways is in the list, too.
    pub fn is_part(&self) -> bool {
        self.way.is_some()
    }

    pub fn must_fail_on(&self, filesystem: &str) -> bool {
        self.must_fail.iter().any(|name| name == filesystem)
    }

    pub fn applies_to(&self, filesystem: &str) -> bool {
        !self.not_applicable.iter().any(|name| name == filesystem)
    }
}

/// What a program does and what can be lost, in its own words: the head of its `--help`.
pub fn about(program: &Path) -> String {
    let help = Command::new(program).arg("--help").output();
    let text = help
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.split("\nUsage:")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Those named in `only`, or all.
pub fn apps(only: &[String]) -> Result<Vec<App>, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-apps/apps.toml");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let list: List = toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    for name in only {
        if !list.app.iter().any(|app| app.name == *name) {
            let names: Vec<_> = list.app.iter().map(|app| app.name.as_str()).collect();
            return Err(format!(
                "no program {name}; there are: {}",
                names.join(", ")
            ));
        }
    }
    let wanted = |app: &App| only.is_empty() || only.contains(&app.name);
    Ok(list.app.into_iter().filter(wanted).collect())
}
