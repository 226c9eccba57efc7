//! Rules: their conditions and how they are matched, without allocation.

use glob::{MatchOptions, Pattern};

use crate::settings::{Key, Settings};

/// `*` stays within one component of a path; `**` crosses.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

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
    pub line: usize,
    pub path: Vec<Pattern>,
    pub program: Vec<Pattern>,
    pub filesystem: Vec<String>,
    pub layer: Layer,
}

impl Rule {
    pub fn matches(&self, path: &str, program: &str, filesystem: &str) -> bool {
        self.failing(path, program, filesystem).is_none()
    }

    /// The first condition that doesn't hold.
    pub fn failing(&self, path: &str, program: &str, filesystem: &str) -> Option<&'static str> {
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

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| pattern.matches_with(text, OPTIONS))
}

/// Paths are bytes and globs match text. A byte that isn't UTF-8 becomes one U+001A, on the
/// stack, so that such a file is matched by its directory and not silently by nothing.
pub(crate) fn with_text<R>(bytes: &[u8], with: impl FnOnce(&str) -> R) -> R {
    match std::str::from_utf8(bytes) {
        Ok(text) => with(text),
        Err(_) => with_substitutes(bytes, with),
    }
}

/// Apart, so that only such a path costs the stack of a whole buffer.
#[inline(never)]
fn with_substitutes<R>(bytes: &[u8], with: impl FnOnce(&str) -> R) -> R {
    const PATH_MAX: usize = 4096;
    let mut buffer = [0x1a_u8; PATH_MAX];
    let mut at = 0_usize;
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let end = at.saturating_add(valid.len());
        let Some(place) = buffer.get_mut(at..end) else {
            break;
        };
        place.copy_from_slice(valid);
        at = end.saturating_add(chunk.invalid().len());
    }
    let text = buffer.get(..at.min(PATH_MAX)).unwrap_or_default();
    with(std::str::from_utf8(text).unwrap_or_default())
}
