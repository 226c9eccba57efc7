//! Scripts: who runs them, and `env` as an interpreter.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub use kernel::program::LINE_MAX;

/// Who runs a script.
#[derive(Debug, PartialEq, Eq)]
pub struct Interpreter {
    pub path: PathBuf,
    /// Everything after the path: one argument, as the kernel passes it.
    pub argument: OsString,
}

/// The interpreter that the first bytes of a file name, if they begin with `#!`.
pub fn interpreter(start: &[u8]) -> Option<Interpreter> {
    kernel::program::interpreter(start).map(|(path, argument)| Interpreter {
        path: PathBuf::from(OsString::from_vec(path.to_vec())),
        argument: OsString::from_vec(argument.to_vec()),
    })
}

/// What `env` would run.
#[derive(Debug, PartialEq, Eq)]
pub enum EnvTarget {
    Program(OsString),
    /// It empties the environment, and the preload with it.
    Emptied,
    /// Nothing that can be told from the line.
    Unknown,
}

/// For the interpreter `env`: what it runs.
pub fn env_target(interpreter: &Interpreter) -> Option<EnvTarget> {
    let is_env = interpreter.path.file_name() == Path::new("env").file_name();
    is_env.then(|| target(interpreter.argument.clone().into_vec()))
}

fn target(argument: Vec<u8>) -> EnvTarget {
    // Without -S the kernel's one argument is one word, blanks and all.
    let (split, words) = match argument.strip_prefix(b"-S") {
        Some(rest) => (true, rest.to_vec()),
        None => (false, argument),
    };
    if !split {
        return match words.first() {
            None => EnvTarget::Unknown,
            Some(b'-') if words == b"-i" || words == b"-" => EnvTarget::Emptied,
            Some(b'-') => EnvTarget::Unknown,
            Some(_) => EnvTarget::Program(OsString::from_vec(words)),
        };
    }
    for word in words.split(u8::is_ascii_whitespace) {
        match word {
            [] => {}
            b"-i" | b"-" | b"--ignore-environment" => return EnvTarget::Emptied,
            [b'-', ..] => return EnvTarget::Unknown,
            word if word.contains(&b'=') => {}
            word => return EnvTarget::Program(OsString::from_vec(word.to_vec())),
        }
    }
    EnvTarget::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Interpreter {
        interpreter(line.as_bytes()).unwrap()
    }

    #[test]
    fn env_is_seen_through() {
        let runs = |line| env_target(&read(line));
        let program = |name: &str| Some(EnvTarget::Program(name.into()));
        assert_eq!(runs("#!/usr/bin/env perl\n"), program("perl"));
        assert_eq!(runs("#!/usr/bin/env -S A=1 perl -w\n"), program("perl"));
        assert_eq!(
            runs("#!/usr/bin/env -S -i perl\n"),
            Some(EnvTarget::Emptied)
        );
        assert_eq!(runs("#!/usr/bin/env -i\n"), Some(EnvTarget::Emptied));
        assert_eq!(runs("#!/usr/bin/env -u X\n"), Some(EnvTarget::Unknown));
        assert_eq!(runs("#!/bin/sh\n"), None);
    }
}
