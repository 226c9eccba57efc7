//! The list of programs that race, as `test-apps/apps.toml` has it.

use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct List {
    app: Vec<App>,
}

/// One program, what it needs, and where the bare kernel was seen to fail it.
#[derive(Clone, Deserialize)]
pub struct App {
    pub name: String,
    /// What it does and what can be lost, in plain words.
    pub about: String,
    #[serde(default)]
    pub needs_atomic: bool,
    /// Filesystems on which a bare run that loses nothing proves nothing.
    #[serde(default)]
    pub bare_must_fail: Vec<String>,
}

impl App {
    pub fn must_fail_on(&self, filesystem: &str) -> bool {
        self.bare_must_fail.iter().any(|name| name == filesystem)
    }
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
