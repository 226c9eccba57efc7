//! Rules: their conditions and how they are matched, without allocation.

use std::ops::Range;

use crate::keys::Key;
use crate::pattern::Glob;
use crate::settings::Settings;

/// Settings with the lines that gave them: line 0 for a value that came from further below.
#[derive(Debug)]
pub(crate) struct Layer {
    pub settings: Settings,
    pub lines: [usize; Key::COUNT],
}

impl Default for Layer {
    fn default() -> Layer {
        Layer {
            settings: Settings::BUILT_IN,
            lines: [0; Key::COUNT],
        }
    }
}

impl Layer {
    /// Fills in from `below` what this layer doesn't give.
    pub fn rest_on(&mut self, below: &Layer) {
        for key in Key::ALL {
            if self.line(key) == 0 {
                self.settings.copy(key, &below.settings);
            }
        }
    }

    pub fn line(&self, key: Key) -> usize {
        self.lines[key as usize]
    }
}

/// One `[[rule]]`. An empty list of a condition is one that the rule doesn't have.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub name: Option<String>,
    /// Where it stands.
    pub file: String,
    pub line: usize,
    pub path: Vec<Glob>,
    pub program: Vec<Glob>,
    /// Where in the file the programs stand.
    pub program_span: Range<usize>,
    pub filesystem: Vec<String>,
    pub layer: Layer,
}

impl Rule {
    /// Whether it holds for every file that the other rule is for, whatever the program.
    pub fn covers_files_of(&self, other: &Rule) -> bool {
        let path = self.path.is_empty() || other.path.iter().all(|p| self.path.contains(p));
        let filesystem = self.filesystem.is_empty()
            || other.filesystem.iter().all(|f| self.filesystem.contains(f));
        self.program.is_empty()
            && path
            && filesystem
            && (self.path.is_empty() || !other.path.is_empty())
            && (self.filesystem.is_empty() || !other.filesystem.is_empty())
    }

    /// Whether it is for programs of this name.
    pub fn is_for_program(&self, program: &[u8]) -> bool {
        any(&self.program, program)
    }

    pub fn matches(&self, path: &[u8], program: &[u8], filesystem: &str) -> bool {
        self.failing(path, program, filesystem).is_none()
    }

    /// The first condition that doesn't hold.
    pub fn failing(&self, path: &[u8], program: &[u8], filesystem: &str) -> Option<&'static str> {
        if !any(&self.path, path) {
            Some("path")
        } else if !any(&self.program, program) {
            Some("program")
        } else if !self.filesystem.is_empty()
            && !self.filesystem.iter().any(|name| name == filesystem)
        {
            Some("filesystem")
        } else {
            None
        }
    }
}

fn any(globs: &[Glob], text: &[u8]) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(text))
}
