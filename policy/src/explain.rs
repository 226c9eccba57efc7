//! Why a file gets the settings that it gets: which rule, and where every value comes from.

use std::fmt;

use crate::keys::Key;
use crate::rule::Rule;
use crate::settings::{Mode, Settings};
use crate::{Policy, environment, is_kernel_filesystem};

/// The answer to "what holds for this file, and who says so?"
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The policy's file; empty for the built-in policy.
    pub file: String,
    pub rule: Option<MatchedRule>,
    /// The rules above it, with the condition that did not hold.
    pub skipped: Vec<SkippedRule>,
    /// The rule enforces for some programs only: what the others get.
    pub others: Option<Mode>,
    pub settings: Settings,
    pub values: Vec<EffectiveValue>,
    /// The table that the policy names, and its line.
    pub table: Option<(std::path::PathBuf, usize)>,
}

/// The rule that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRule {
    /// From 1, in the order in which they are looked at.
    pub index: usize,
    pub name: Option<String>,
    pub file: String,
    pub line: usize,
}

/// A rule that came first and did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedRule {
    pub rule: MatchedRule,
    /// `path`, `program` or `filesystem`.
    pub condition: &'static str,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    pub key: Key,
    pub value: String,
    pub origin: Origin,
}

/// Who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Rule {
        rule: MatchedRule,
        line: usize,
    },
    Defaults {
        file: String,
        line: usize,
    },
    BuiltIn,
    /// An environment variable of this run.
    Environment(&'static str),
    /// The filesystem is one of the kernel's own (procfs, sysfs): never fenced.
    KernelFilesystem(String),
}

/// What a rule that can match for a program says.
#[derive(Debug, Clone)]
pub struct RuleFor {
    pub rule: MatchedRule,
    /// It is for this program, and not for all.
    pub names_it: bool,
    pub settings: Settings,
}

impl Policy {
    /// The policy's file, as messages name it; empty for the built-in policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules that some file of a program of this name can get.
    pub fn rules_for(&self, program: &[u8]) -> Vec<RuleFor> {
        let all = self.rules.iter().enumerate();
        all.filter(|(_, rule)| rule.is_for_program(program))
            .map(|(index, rule)| RuleFor {
                rule: describe(index, rule),
                names_it: !rule.program.is_empty(),
                settings: rule.layer.settings,
            })
            .collect()
    }

    /// Explains what [`Policy::settings_for`] answers.
    pub fn explain(
        &self,
        path: impl AsRef<[u8]>,
        program: impl AsRef<[u8]>,
        filesystem: &str,
    ) -> Explanation {
        let (path, program) = (path.as_ref(), program.as_ref());
        let mut skipped = Vec::new();
        let mut matched = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let described = describe(index, rule);
            match rule.failing(path, program, filesystem) {
                Some(condition) => skipped.push(SkippedRule {
                    rule: described,
                    condition,
                }),
                None => {
                    matched = Some((rule, described));
                    break;
                }
            }
        }
        let settings = self.settings_for(path, program, filesystem);
        let values = Key::ALL
            .into_iter()
            .map(|key| EffectiveValue {
                key,
                value: settings.show(key),
                origin: self.origin(key, matched.as_ref(), &settings, filesystem),
            })
            .collect();
        Explanation {
            file: self.name.clone(),
            others: matched
                .as_ref()
                .and_then(|(_, rule)| self.mode_for_others(rule.index - 1))
                .filter(|mode| *mode != Mode::Enforce),
            rule: matched.map(|(_, described)| described),
            skipped,
            settings,
            values,
            table: self.table.clone().map(|table| (table, self.table_line)),
        }
    }

    fn origin(
        &self,
        key: Key,
        matched: Option<&(&Rule, MatchedRule)>,
        settings: &Settings,
        filesystem: &str,
    ) -> Origin {
        if key == Key::Mode && is_kernel_filesystem(filesystem) {
            return Origin::KernelFilesystem(filesystem.to_owned());
        }
        if key == Key::Mode && self.overrides.mode.is_some() && settings.mode != Mode::Off {
            return Origin::Environment(environment::MODE);
        }
        if key == Key::Isolation && self.overrides.isolation.is_some() {
            return Origin::Environment(environment::ISOLATION);
        }
        if key == Key::Trace && self.overrides.trace.is_some() {
            return Origin::Environment(environment::RECORD);
        }
        if let Some((rule, described)) = matched
            && rule.layer.line(key) > 0
        {
            return Origin::Rule {
                rule: described.clone(),
                line: rule.layer.line(key),
            };
        }
        match self.defaults.line(key) {
            0 => Origin::BuiltIn,
            line => Origin::Defaults {
                file: self.name.clone(),
                line,
            },
        }
    }
}

fn describe(index: usize, rule: &Rule) -> MatchedRule {
    MatchedRule {
        index: index + 1,
        name: rule.name.clone(),
        file: rule.file.clone(),
        line: rule.line,
    }
}

impl fmt::Display for MatchedRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "rule \"{name}\""),
            None => write!(out, "rule {}", self.index),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Rule { rule, line } => write!(out, "{rule} at {}:{line}", rule.file),
            Origin::Defaults { file, line } => write!(out, "[defaults] at {file}:{line}"),
            Origin::BuiltIn => write!(out, "built in"),
            Origin::Environment(variable) => write!(out, "environment variable {variable}"),
            Origin::KernelFilesystem(name) => {
                write!(out, "built in: {name} is never fenced")
            }
        }
    }
}
