//! What has no hook, and why: `unhooked.toml`, what is like something hooked, or the kernel's; and `inside.toml`, what libc
//! does by itself.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

pub type Names = BTreeSet<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    newer: String,
    because: Vec<Reason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub why: String,
    #[serde(default)]
    pub libc: String,
    #[serde(default)]
    pub liburing: String,
    #[serde(default)]
    pub libaio: String,
    #[serde(default)]
    pub numbers: String,
}

fn read(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What is like something hooked, or the kernel's.
pub fn unhooked() -> Vec<Reason> {
    read("unhooked.toml").because
}

/// What libc does by itself.
pub fn inside() -> Vec<Reason> {
    read("inside.toml").because
}

/// System calls that headers may not know yet.
pub fn newer() -> Names {
    words(&read("unhooked.toml").newer)
}

pub fn words(list: &str) -> Names {
    list.split_whitespace().map(str::to_owned).collect()
}

/// The names of one kind that have a reason.
pub fn names(kind: impl Fn(&Reason) -> &str) -> Names {
    let mut all = Names::new();
    for reason in unhooked().iter().chain(&inside()) {
        assert!(!reason.why.is_empty(), "a reason that says nothing");
        for name in kind(reason).split_whitespace() {
            assert!(all.insert(name.to_owned()), "{name} has two reasons");
        }
    }
    all
}
