//! The values of settings: from what stands in the TOML document, or an error that says what would be right.

use toml::Spanned;
use toml::de::DeValue;

use crate::diagnostic::line_of;
use crate::keys::Key;
use crate::parse::{Reader, list};
use crate::rule::Layer;
use crate::settings::{
    Coverage, IoUring, Isolation, Mode, OnInvalidateFailure, OnLockTimeout, OnTableError,
    OnUncovered, Route, Trace,
};
use crate::{duration, suggest};

type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    pub(crate) fn setting(&mut self, layer: &mut Layer, key: Key, value: &Value<'_>) {
        let given = match key {
            Key::LockTimeout => self.duration(layer, value),
            Key::FollowExec => self.follow_exec(layer, value),
            _ => self.word(layer, key, value),
        };
        if given {
            layer.lines[key as usize] = line_of(self.source, value.span().start);
        }
    }

    fn duration(&mut self, layer: &mut Layer, value: &Value<'_>) -> bool {
        let text = value.get_ref().as_str();
        match text.and_then(duration::parse) {
            Some(duration) => layer.settings.lock_timeout = duration,
            None => self.error(
                value.span(),
                format!("bad duration {}", self.text(value.span())),
                format!(
                    "write {}, in quotes: \"30s\", \"500ms\", \"2m\"",
                    duration::ACCEPTED
                ),
            ),
        }
        text.and_then(duration::parse).is_some()
    }

    fn follow_exec(&mut self, layer: &mut Layer, value: &Value<'_>) -> bool {
        let given = value.get_ref().as_bool();
        match given {
            Some(given) => layer.settings.keep_preload = given,
            None => self.error(
                value.span(),
                format!("bad value {} for `follow_exec`", self.text(value.span())),
                "write true or false, without quotes",
            ),
        }
        given.is_some()
    }

    fn word(&mut self, layer: &mut Layer, key: Key, value: &Value<'_>) -> bool {
        let word = value.get_ref().as_str();
        let known = word.is_some_and(|word| set_word(layer, key, word));
        if !known {
            let nearest = word.and_then(|word| suggest::nearest(word, key.words()));
            let accepted = format!("accepted: {}", list(key.words(), "\""));
            let hint = match nearest {
                Some(nearest) => format!("did you mean \"{nearest}\"? {accepted}"),
                None => accepted,
            };
            let message = format!("bad value {} for `{}`", self.text(value.span()), key.name());
            self.error(value.span(), message, hint);
        }
        known
    }
}

/// Sets a key whose values are words; says whether the word is one of them.
fn set_word(layer: &mut Layer, key: Key, word: &str) -> bool {
    fn put<T>(place: &mut T, value: Option<T>) -> bool {
        let known = value.is_some();
        if let Some(value) = value {
            *place = value;
        }
        known
    }
    let settings = &mut layer.settings;
    match key {
        Key::Mode => put(&mut settings.mode, Mode::from_word(word)),
        Key::Isolation => put(&mut settings.isolation, Isolation::from_word(word)),
        Key::Route => put(&mut settings.route, Route::from_word(word)),
        Key::OnInvalidateFailure => put(
            &mut settings.on_invalidate_failure,
            OnInvalidateFailure::from_word(word),
        ),
        Key::OnLockTimeout => put(
            &mut settings.on_lock_timeout,
            OnLockTimeout::from_word(word),
        ),
        Key::OnUncovered => put(&mut settings.on_uncovered, OnUncovered::from_word(word)),
        Key::IoUring => put(&mut settings.io_uring, IoUring::from_word(word)),
        Key::Coverage => put(&mut settings.coverage, Coverage::from_word(word)),
        Key::OnTableError => put(&mut settings.on_table_error, OnTableError::from_word(word)),
        Key::Trace => put(&mut settings.trace, Trace::from_word(word)),
        Key::LockTimeout | Key::FollowExec => false,
    }
}
