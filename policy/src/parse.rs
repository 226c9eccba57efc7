//! From text to [`Policy`]: walks the TOML document with its spans and collects every error.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::line_of;
use crate::keys::Key;
use crate::rule::{Layer, Rule};
use crate::settings::Mode;
use crate::{Diagnostic, Policy, PolicyError, conditions, machine, suggest};

const SECTIONS: [&str; 3] = ["table", "defaults", "rule"];
const CONDITIONS: [&str; 3] = {
    let [path, program, filesystem] = conditions::CONDITIONS;
    [path.0, program.0, filesystem.0]
};

pub(crate) fn parse(text: &str, name: &str) -> Result<Policy, PolicyError> {
    read(text, name, &[], Reader::document)
}

/// The rules of a file that has nothing else, which stand behind these.
pub(crate) fn rules(text: &str, name: &str, before: &[Rule]) -> Result<Vec<Rule>, PolicyError> {
    read(text, name, before, Reader::only_rules)
}

fn read<'a, R>(
    text: &'a str,
    name: &'a str,
    before: &'a [Rule],
    says: impl FnOnce(&mut Reader<'a>, &DeTable<'_>) -> R,
) -> Result<R, PolicyError> {
    let mut reader = Reader {
        source: text,
        file: name,
        before,
        errors: Vec::new(),
    };
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let span = error.span().unwrap_or(0..0);
        reader.error(
            span,
            error.message().to_owned(),
            "this is not TOML; texts stand in quotes, lists in [ ]",
        );
    }
    // What a broken document seems to say would only bring errors that aren't there.
    let said = syntax
        .is_empty()
        .then(|| says(&mut reader, document.get_ref()));
    match said {
        Some(said) if reader.errors.is_empty() => Ok(said),
        _ => {
            reader
                .errors
                .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
            Err(PolicyError {
                file: name.to_owned(),
                diagnostics: reader.errors,
                table: named_table(document.get_ref()),
            })
        }
    }
}

/// The table that a broken document names, if that much of it is right.
fn named_table(document: &DeTable<'_>) -> Option<PathBuf> {
    let path = document.get("table")?.get_ref().as_str()?;
    is_table(path).then(|| PathBuf::from(path))
}

fn is_table(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0')
}

/// The source, and what was found wrong with it so far.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a str,
    /// What messages call it.
    file: &'a str,
    /// Rules that come first.
    before: &'a [Rule],
    errors: Vec<Diagnostic>,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    pub fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let diagnostic = Diagnostic::at(self.source, span, message.into(), hint.into());
        self.errors.push(diagnostic);
    }

    /// The piece of the source under a span.
    pub fn text(&self, span: Range<usize>) -> &str {
        self.source.get(span).unwrap_or_default()
    }

    fn document(&mut self, document: &DeTable<'_>) -> Policy {
        let mut policy = Policy {
            name: self.file.to_owned(),
            ..Policy::built_in()
        };
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "table" => {
                    policy.table = self.table(value);
                    policy.table_line = line_of(self.source, value.span().start);
                }
                "defaults" => policy.defaults = self.defaults(value),
                "rule" => policy.rules = self.rules(value),
                unknown => self.unknown_section(unknown, key.span()),
            }
        }
        for rule in &mut policy.rules {
            rule.layer.rest_on(&policy.defaults);
        }
        policy.warnings = self.warnings(&policy);
        policy
    }

    /// A file among others, of which one speaks for all.
    fn only_rules(&mut self, document: &DeTable<'_>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "rule" => rules = self.rules(value),
                name @ ("table" | "defaults") => self.error(
                    key.span(),
                    format!("`{name}` in a file of {}", machine::PARTS),
                    format!(
                        "it holds for all files: write it into {}/{}",
                        machine::FOLDER,
                        machine::MAIN
                    ),
                ),
                unknown => self.unknown_section(unknown, key.span()),
            }
        }
        rules
    }

    fn unknown_section(&mut self, name: &str, span: Range<usize>) {
        let hint = if let Some(key) = Key::from_name(name) {
            let or = match key.is_for_defaults_only() {
                true => "",
                false => " or in a [[rule]]",
            };
            format!("`{name}` is a setting: write it under [defaults]{or}")
        } else if CONDITIONS.contains(&name) {
            format!("`{name}` is a condition: write it in a [[rule]]")
        } else {
            hint_for(name, &SECTIONS, "at the top level")
        };
        self.error(span, format!("unknown key `{name}`"), hint);
    }

    fn table(&mut self, value: &Value<'_>) -> Option<PathBuf> {
        let path = self.string(value, "table", "\"/run/pagefence/table\"")?;
        if !is_table(&path) {
            self.error(
                value.span(),
                "the table's path is not absolute",
                "write a path from the root, such as \"/run/pagefence/table\": programs change their directory",
            );
            return None;
        }
        Some(PathBuf::from(path))
    }

    fn defaults(&mut self, value: &Value<'_>) -> Layer {
        let mut layer = Layer::default();
        let Some(table) = value.get_ref().as_table() else {
            self.error(
                value.span(),
                "`defaults` is not a table",
                "write [defaults] on a line of its own",
            );
            return layer;
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match Key::from_name(name) {
                Some(setting) => self.setting(&mut layer, setting, value),
                None if CONDITIONS.contains(&name) || name == "name" => self.error(
                    key.span(),
                    format!("`{name}` in [defaults]"),
                    format!("defaults hold for every file: `{name}` belongs in a [[rule]]"),
                ),
                None => {
                    let names = Key::ALL.map(Key::name);
                    self.error(
                        key.span(),
                        format!("unknown key `{name}` in [defaults]"),
                        hint_for(name, &names, "in [defaults]"),
                    );
                }
            }
        }
        layer
    }

    fn rules(&mut self, value: &Value<'_>) -> Vec<Rule> {
        let Some(array) = value.get_ref().as_array() else {
            self.error(
                value.span(),
                "`rule` is not a list of tables",
                "write [[rule]], in double brackets",
            );
            return Vec::new();
        };
        let mut rules: Vec<Rule> = Vec::new();
        for value in array {
            let Some(table) = value.get_ref().as_table() else {
                self.error(
                    value.span(),
                    "this rule is not a table",
                    "write [[rule]], and its keys on the lines below",
                );
                continue;
            };
            let rule = self.rule(table, value.span());
            let mut all = self.before.iter().chain(&rules);
            if let Some(name) = &rule.name
                && let Some(first) = all.find(|other| other.name.as_ref() == Some(name))
            {
                let span = table.get("name").map_or(value.span(), Spanned::span);
                let place = match first.file == rule.file {
                    true => format!("at line {}", first.line),
                    false => format!("at {}:{}", first.file, first.line),
                };
                self.error(
                    span,
                    format!("a second rule with the name \"{name}\""),
                    format!("the first is {place}: give each rule a name of its own"),
                );
            }
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Rule {
        let mut rule = Rule {
            file: self.file.to_owned(),
            line: line_of(self.source, span.start),
            ..Rule::default()
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match name {
                "name" => rule.name = self.name(value),
                "path" => rule.path = conditions::paths(self, value),
                "program" => {
                    rule.program = conditions::programs(self, value);
                    rule.program_span = value.span();
                }
                "filesystem" => rule.filesystem = conditions::filesystems(self, value),
                _ => match Key::from_name(name) {
                    Some(setting) if setting.is_for_defaults_only() => self.error(
                        key.span(),
                        format!("`{name}` in a rule"),
                        format!(
                            "`{name}` is for a whole process, whatever files it uses: write it under [defaults]"
                        ),
                    ),
                    Some(setting) => self.setting(&mut rule.layer, setting, value),
                    None => self.unknown_in_rule(name, key.span()),
                },
            }
        }
        if !CONDITIONS.iter().any(|name| table.contains_key(*name)) {
            let message = if table.is_empty() {
                "an empty rule"
            } else {
                "a rule without a condition"
            };
            self.error(
                span,
                message,
                "say which files it is for with `path`, `program` or `filesystem`; what holds for all files belongs in [defaults]",
            );
        }
        rule
    }

    /// A rule that lists programs and enforces: what about the others?
    fn warnings(&self, policy: &Policy) -> Vec<Diagnostic> {
        let rules = policy.rules.iter().enumerate();
        let left_out = rules.filter_map(|(index, rule)| {
            let mode = policy.mode_for_others(index).filter(|mode| *mode != Mode::Enforce)?;
            let message = format!(
                "the rule enforces for these programs only: for others `mode` is \"{}\" on the same files",
                mode.word()
            );
            let hint = "what isn't fenced isn't kept coherent with what is: leave `program` out, or give the others a rule that enforces";
            let span = rule.program_span.clone();
            Some(Diagnostic::at(self.source, span, message, hint.to_owned()))
        });
        left_out.collect()
    }

    fn unknown_in_rule(&mut self, name: &str, span: Range<usize>) {
        let mut names = vec!["name"];
        names.extend(CONDITIONS);
        let of_files = Key::ALL
            .into_iter()
            .filter(|key| !key.is_for_defaults_only());
        names.extend(of_files.map(Key::name));
        self.error(
            span,
            format!("unknown key `{name}` in a rule"),
            hint_for(name, &names, "in a rule"),
        );
    }

    fn name(&mut self, value: &Value<'_>) -> Option<String> {
        let name = self.string(value, "name", "\"innodb\"")?;
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            self.error(
                value.span(),
                "this name says nothing",
                "give the rule a word that reports can show, such as \"innodb\"",
            );
            return None;
        }
        Some(name)
    }

    /// A text, or an error that shows an example of one.
    pub fn string(&mut self, value: &Value<'_>, name: &str, example: &str) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                self.error(
                    value.span(),
                    format!("`{name}` is {}, not a text", a_type(other)),
                    format!("write it in quotes: {name} = {example}"),
                );
                None
            }
        }
    }
}

/// The hint for an unknown key: the nearest, and all that are accepted.
fn hint_for(name: &str, accepted: &[&str], place: &str) -> String {
    let all = format!("accepted {place}: {}", list(accepted, "`"));
    match suggest::nearest(name, accepted) {
        Some(nearest) => format!("did you mean `{nearest}`? {all}"),
        None => all,
    }
}

pub(crate) fn list(words: &[&str], quote: &str) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("{quote}{word}{quote}"))
        .collect();
    quoted.join(", ")
}

pub(crate) fn a_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
