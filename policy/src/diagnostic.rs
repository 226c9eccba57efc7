//! Errors that teach: where, the line itself, what is wrong, and what would be right.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Why a policy can't be used: everything that is wrong with it, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    pub file: String,
    pub diagnostics: Vec<Diagnostic>,
    /// The lock table that it names all the same: who can't have the policy must not have another table as well.
    pub table: Option<PathBuf>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line and column count from 1; both are 0 when the file could not be read.
    pub line: usize,
    /// In characters, not bytes.
    pub column: usize,
    /// How many characters the caret underlines.
    pub width: usize,
    /// The text of the line.
    pub text: String,
    pub message: String,
    /// What would be right.
    pub hint: String,
}

impl Diagnostic {
    /// Points at a range of bytes of the source.
    pub(crate) fn at(source: &str, span: Range<usize>, message: String, hint: String) -> Self {
        let start = floor_char_boundary(source, span.start);
        let before = source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = source.get(line_start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let line_end = line_start + text.len();
        let end = floor_char_boundary(source, span.end.min(line_end));
        let marked = source.get(start..end).unwrap_or_default();
        Diagnostic {
            line: line_of(source, start),
            column: before[line_start..].chars().count() + 1,
            width: marked.chars().count().max(1),
            text: text.to_owned(),
            message,
            hint,
        }
    }

    fn without_place(message: String, hint: &str) -> Self {
        Diagnostic {
            line: 0,
            column: 0,
            width: 0,
            text: String::new(),
            message,
            hint: hint.to_owned(),
        }
    }
}

/// The line, from 1, that holds a byte.
pub(crate) fn line_of(source: &str, byte: usize) -> usize {
    let before = source.as_bytes().iter().take(byte);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn floor_char_boundary(source: &str, byte: usize) -> usize {
    source.floor_char_boundary(byte.min(source.len()))
}

impl PolicyError {
    pub(crate) fn unreadable(file: &str, error: &std::io::Error) -> PolicyError {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "give the path of an existing policy file",
            std::io::ErrorKind::PermissionDenied => {
                "make it readable for the user who runs the program"
            }
            std::io::ErrorKind::InvalidInput => "give the path of a policy file",
            std::io::ErrorKind::IsADirectory => "give the path of a file, not of a directory",
            _ => "",
        };
        PolicyError {
            file: file.to_owned(),
            diagnostics: vec![Diagnostic::without_place(
                format!("can't read the policy: {error}"),
                hint,
            )],
            table: None,
        }
    }

    pub(crate) fn not_text(file: &str, error: &std::str::Utf8Error) -> PolicyError {
        let message = format!(
            "the policy is not UTF-8 text: bad byte at offset {}",
            error.valid_up_to()
        );
        PolicyError {
            file: file.to_owned(),
            diagnostics: vec![Diagnostic::without_place(
                message,
                "save the file as UTF-8; is it a policy at all?",
            )],
            table: None,
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                write!(out, "\n\n")?;
            }
            diagnostic.render("error", &self.file, out)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

impl Diagnostic {
    /// As a warning that reads like an error.
    pub fn as_warning<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |out| self.render("warning", file, out))
    }

    fn render(&self, what: &str, file: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{what}: {}", self.message)?;
        if self.line == 0 {
            write!(out, "\n --> {file}")?;
            if !self.hint.is_empty() {
                write!(out, "\n  = {}", self.hint)?;
            }
            return Ok(());
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs are kept, so that the caret stands under its word at any tab width.
        let indent: String = self
            .text
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(out, "\n{margin}--> {file}:{}:{}", self.line, self.column)?;
        write!(out, "\n{margin} |\n{number} | {}", self.text)?;
        write!(out, "\n{margin} | {indent}{}", "^".repeat(self.width))?;
        if !self.hint.is_empty() {
            write!(out, "\n{margin} = {}", self.hint)?;
        }
        Ok(())
    }
}
