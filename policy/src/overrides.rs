//! What one run says over the policy: `PAGEFENCE_MODE`, `PAGEFENCE_ISOLATION` and `PAGEFENCE_RECORD`.
//!
//! `pagefence run --observe`, `--isolation` and `--contents` set these variables, for the program and all its
//! children. They override every rule and default, except that a file that is `off` stays off:
//! nobody who looks at a run wants more fenced than the policy fences.

use crate::settings::{Isolation, Mode, Settings, Trace};

/// What is overridden; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub mode: Option<Mode>,
    pub isolation: Option<Isolation>,
    pub trace: Option<Trace>,
}

impl Overrides {
    /// From the values of the three variables. A word that is neither known nor empty overrides
    /// nothing; the second value names the variable, to be reported.
    pub fn from_words(
        mode: Option<&str>,
        isolation: Option<&str>,
        record: Option<&str>,
    ) -> (Overrides, Option<&'static str>) {
        let given = |word: Option<&str>| word.is_some_and(|word| !word.is_empty());
        let overrides = Overrides {
            mode: mode.and_then(Mode::from_word),
            isolation: isolation.and_then(Isolation::from_word),
            trace: record.and_then(Trace::from_word),
        };
        let unknown = if given(mode) && overrides.mode.is_none() {
            Some(crate::environment::MODE)
        } else if given(isolation) && overrides.isolation.is_none() {
            Some(crate::environment::ISOLATION)
        } else if given(record) && overrides.trace.is_none() {
            Some(crate::environment::RECORD)
        } else {
            None
        };
        (overrides, unknown)
    }

    pub(crate) fn apply(&self, settings: &mut Settings) {
        if settings.mode != Mode::Off {
            settings.mode = self.mode.unwrap_or(settings.mode);
        }
        settings.isolation = self.isolation.unwrap_or(settings.isolation);
        settings.trace = self.trace.unwrap_or(settings.trace);
    }
}
