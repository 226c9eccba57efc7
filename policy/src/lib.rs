//! The policy language: which files are fenced, and how.
//!
//! A policy is a TOML file. The first `[[rule]]` whose conditions all hold decides; what it
//! leaves out comes from `[defaults]`, and what they leave out is built in. A program without a
//! policy gets the built-in values: every regular file and block device is enforced.
//!
//! ```toml
//! table = "/run/pagefence/table"
//!
//! [defaults]
//! mode = "enforce"                    # off | observe | enforce
//! isolation = "coherent"              # coherent | atomic
//! route = "as-asked"                  # as-asked | buffered | direct
//! on_invalidate_failure = "buffered"  # buffered | warn | error
//! lock_timeout = "30s"
//! on_lock_timeout = "error"           # error | proceed
//! on_uncovered = "report"             # report | refuse
//! io_uring = "refuse"                 # refuse | refuse-all | allow; not in a rule
//! coverage = "calls"                  # calls | syscalls; not in a rule
//! on_table_error = "passthrough"      # passthrough | refuse
//! trace = "mixed"                     # mixed | all: every call
//! follow_exec = true                  # exec keeps LD_PRELOAD and the PAGEFENCE_ variables; not in a rule
//!
//! [[rule]]
//! name = "innodb"
//! path = ["/var/lib/mysql/**/*.ibd"]  # globs on the resolved path, bytes
//! program = ["mariadbd", "mariabackup"]
//! filesystem = ["ext4", "xfs"]
//! isolation = "atomic"
//! ```
//!
//! Where nobody names a file, the machine's policy holds ([`machine`]).
//!
//! Parsing allocates and happens once, before a program starts. Matching
//! ([`Policy::settings_for`]) neither allocates nor locks, because it runs inside a stranger's
//! `open`, perhaps in a signal handler.

mod conditions;
mod diagnostic;
mod duration;
pub mod environment;
mod escaped;
mod explain;
mod file;
mod filesystem;
mod keys;
pub mod machine;
mod overrides;
mod parse;
mod pattern;
mod rule;
mod settings;
mod suggest;
mod values;

use std::path::{Path, PathBuf};

pub use conditions::CONDITIONS;
pub use diagnostic::{Diagnostic, PolicyError};
pub use duration::show as show_duration;
pub use escaped::Escaped;
pub use explain::{EffectiveValue, Explanation, MatchedRule, Origin, RuleFor, SkippedRule};
pub use filesystem::{
    copies_on_write, is_kernel_filesystem, is_shared_with_others, name_of_magic as filesystem_name,
};
pub use keys::Key;
pub use overrides::Overrides;
pub use settings::{
    Coverage, IoUring, Isolation, Mode, OnInvalidateFailure, OnLockTimeout, OnTableError,
    OnUncovered, Route, Settings, Trace,
};

use rule::{Layer, Rule};

/// A parsed policy: immutable, and so shared by all threads without a lock.
#[derive(Debug)]
pub struct Policy {
    /// The file it came from, as messages name it.
    name: String,
    table: Option<PathBuf>,
    table_line: usize,
    defaults: Layer,
    rules: Vec<Rule>,
    overrides: Overrides,
    warnings: Vec<Diagnostic>,
}

impl Policy {
    /// What holds without a policy file.
    pub fn built_in() -> Policy {
        Policy {
            name: String::new(),
            table: None,
            table_line: 0,
            defaults: Layer::default(),
            rules: Vec::new(),
            overrides: Overrides::default(),
            warnings: Vec::new(),
        }
    }

    /// What holds where a policy can't be used: the built-in values and, if it could be made out, the policy's table.
    pub fn instead_of(error: &PolicyError) -> Policy {
        Policy {
            table: error.table.clone(),
            ..Policy::built_in()
        }
    }

    /// Parses the text of a policy; `name` is what messages call its file.
    pub fn parse(text: &str, name: &str) -> Result<Policy, PolicyError> {
        parse::parse(text, name)
    }

    /// Reads and parses a policy file: a regular file of up to 1 MiB. Never waits for anybody.
    pub fn load(path: &Path) -> Result<Policy, PolicyError> {
        Policy::parse(&read(path)?, &named(path))
    }

    /// The policy that was named or, where none was, the machine's.
    pub fn chosen(path: Option<&Path>) -> Result<Policy, PolicyError> {
        match path {
            Some(path) => Policy::load(path),
            None => Policy::of_machine(Path::new("/")),
        }
    }

    /// What holds under this root where nobody names a policy.
    pub fn of_machine(root: &Path) -> Result<Policy, PolicyError> {
        let folder = machine::FOLDER.trim_start_matches('/');
        machine::load(&root.join(folder))
    }

    /// More rules, behind those that it has; what they leave out comes from its defaults.
    fn add(&mut self, rules: Vec<Rule>) {
        for mut rule in rules {
            rule.layer.rest_on(&self.defaults);
            self.rules.push(rule);
        }
    }

    /// The lock table that the policy names.
    pub fn table(&self) -> Option<&Path> {
        self.table.as_deref()
    }

    /// What files get that no rule matches.
    pub fn defaults(&self) -> &Settings {
        &self.defaults.settings
    }

    /// The settings that a file may get: the defaults', and each rule's.
    fn all_settings(&self) -> impl Iterator<Item = &Settings> {
        let rules = self.rules.iter().map(|rule| &rule.layer.settings);
        core::iter::once(&self.defaults.settings).chain(rules)
    }

    /// Whether no file at all is fenced.
    pub fn is_off(&self) -> bool {
        self.all_settings().all(|s| s.mode == Mode::Off)
    }

    /// Whether any file at all is enforced.
    pub fn enforces(&self) -> bool {
        self.all_settings().any(|s| s.mode == Mode::Enforce)
    }

    /// Whether the library covers system calls that programs make without libc.
    pub fn covers_own_calls(&self) -> bool {
        cfg!(target_arch = "x86_64") && self.defaults().coverage == Coverage::Syscalls
    }

    /// Are there files that may not be used without a lock table?
    pub fn may_refuse(&self) -> bool {
        self.all_settings()
            .any(|s| s.on_table_error == OnTableError::Refuse)
    }

    /// Whether direct requests of any file at all go through the page cache.
    pub fn routes(&self) -> bool {
        self.all_settings().any(Settings::is_routed)
    }

    /// Whether requests of any file at all go another way than they ask for.
    pub fn has_other_ways(&self) -> bool {
        self.all_settings().any(|s| s.is_routed() || s.goes_past())
    }

    /// Whether all calls on any file at all are to be recorded.
    pub fn records_calls(&self) -> bool {
        self.all_settings().any(Settings::records_calls)
    }

    /// Whether what they move is to be, too.
    pub fn records_contents(&self) -> bool {
        self.all_settings().any(Settings::records_contents)
    }

    /// Whether two paths can get different settings.
    pub fn asks_for_paths(&self) -> bool {
        let same = |rule: &Rule| rule.layer.settings == self.defaults.settings;
        self.rules.iter().any(|rule| !rule.path.is_empty()) && !self.rules.iter().all(same)
    }

    /// Whether a file can be fenced by one path and not by another.
    pub fn fences_by_path(&self) -> bool {
        let off = |settings: &Settings| settings.mode == Mode::Off;
        let by_default = off(&self.defaults.settings);
        let mut rules = self.rules.iter();
        self.asks_for_paths() && rules.any(|rule| off(&rule.layer.settings) != by_default)
    }

    /// The same for every file: what a policy says whose rules change nothing.
    pub fn for_all(&self) -> Option<&Settings> {
        let defaults = &self.defaults.settings;
        let mut rules = self.rules.iter();
        rules
            .all(|rule| rule.layer.settings == *defaults)
            .then_some(defaults)
    }

    /// For a file whose path can't be known: the first settings under which a file is fenced at all.
    pub fn first_fenced(&self) -> Option<&Settings> {
        self.all_settings().find(|s| s.mode != Mode::Off)
    }

    /// What is right, and perhaps not meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// For a rule that enforces for some programs only: the mode that the others get on its files, as far as that can
    /// be known from the rules' words.
    pub(crate) fn mode_for_others(&self, index: usize) -> Option<Mode> {
        let (rule, behind) = self.rules.get(index..)?.split_first()?;
        if rule.program.is_empty() || rule.layer.settings.mode != Mode::Enforce {
            return None;
        }
        let next = behind.iter().find(|other| other.covers_files_of(rule));
        let layer = next.map_or(&self.defaults, |other| &other.layer);
        Some(layer.settings.mode)
    }

    /// How many rules it has.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// The same policy under the overrides of one run (see [`Overrides`]).
    pub fn with_overrides(mut self, overrides: Overrides) -> Policy {
        overrides.apply(&mut self.defaults.settings);
        for rule in &mut self.rules {
            overrides.apply(&mut rule.layer.settings);
        }
        self.overrides = overrides;
        self
    }

    /// What holds for one file: its resolved path, the program's file name, and the name of the
    /// filesystem ([`filesystem_name`]). Doesn't allocate, takes no lock, and takes time linear in
    /// the path for each glob. A byte of a path that is not UTF-8 counts as one character.
    pub fn settings_for(
        &self,
        path: impl AsRef<[u8]>,
        program: impl AsRef<[u8]>,
        filesystem: &str,
    ) -> Settings {
        let (path, program) = (path.as_ref(), program.as_ref());
        let mut rules = self.rules.iter();
        let chosen = rules.find(|rule| rule.matches(path, program, filesystem));
        let mut settings = chosen.map_or(self.defaults.settings, |rule| rule.layer.settings);
        if is_kernel_filesystem(filesystem) {
            settings.mode = Mode::Off;
        }
        settings
    }
}

/// What messages call a file.
fn named(path: &Path) -> String {
    Escaped(path.as_os_str().as_encoded_bytes()).to_string()
}

/// The text of a policy file.
fn read(path: &Path) -> Result<String, PolicyError> {
    let bytes = file::read(path).map_err(|error| PolicyError::unreadable(&named(path), &error))?;
    String::from_utf8(bytes)
        .map_err(|error| PolicyError::not_text(&named(path), &error.utf8_error()))
}
