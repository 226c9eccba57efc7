//! What it comes to, in a sentence, and the way out.

use super::modes::{File, Mode, User};

pub fn of(files: &[File], complete: bool) -> String {
    let mut said = match files {
        [] => "nobody has any of it open or mapped".to_owned(),
        [first, ..] if first.mixed => {
            let more = files.iter().filter(|file| file.mixed).count() - 1;
            let others = match more {
                0 => String::new(),
                1 => "; and one more file is".to_owned(),
                more => format!("; and {more} more files are"),
            };
            mixed(first) + &others
        }
        [only] => format!("{} is used in one mode: {}", only.name(), users(only)),
        files => format!("{} files are in use, each in one mode", files.len()),
    };
    if !complete && files.first().is_none_or(|first| !first.mixed) {
        said += ", as far as could be seen: some processes could not be looked at";
    }
    said
}

/// `a.db is used in two modes: a (pid 1) directly, b (pid 2) buffered; neither is fenced`
pub fn mixed(file: &File) -> String {
    format!(
        "{} is used in two modes: {}; {}",
        file.name(),
        users(file),
        fences(file)
    )
}

fn users(file: &File) -> String {
    const SHOWN: usize = 4;
    // Who goes past the cache first.
    let mut all: Vec<&User> = file.users.iter().collect();
    all.sort_by_key(|user| !user.has(Mode::Direct));
    let shown: Vec<String> = all
        .iter()
        .take(SHOWN)
        .map(|user| format!("{} {}", user.who.shown(), how(user)))
        .collect();
    match all.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn how(user: &User) -> &'static str {
    match (user.has(Mode::Direct), user.cached()) {
        (true, None) => "directly",
        (true, Some(Mode::Buffered)) => "directly and buffered",
        (true, Some(_)) => "directly and mapped",
        (false, Some(Mode::MappedWritable)) => "mapped writable",
        (false, Some(Mode::Mapped)) => "mapped",
        (false, _) => "buffered",
    }
}

fn fences(file: &File) -> String {
    let (all, bare): (_, Vec<&User>) = (
        &file.users,
        file.users
            .iter()
            .filter(|user| !user.fence.fenced)
            .collect(),
    );
    match (bare.as_slice(), all.len()) {
        ([], _) if file.coherent => "all are fenced by one table, and so kept coherent".to_owned(),
        ([], _) if file.tables() > 1 => {
            "they are fenced by different tables, which exclude nothing".to_owned()
        }
        ([], _) => "they are fenced, and a policy leaves the file out".to_owned(),
        ([_], 1) => "it is not fenced".to_owned(),
        ([_, _], 2) => "neither is fenced".to_owned(),
        (bare, all) if bare.len() == all => "none of them is fenced".to_owned(),
        ([one], _) => format!("{} is not fenced", one.who.shown()),
        (bare, all) => format!("{} of {all} are not fenced", bare.len()),
    }
}

/// What to do; empty where nothing is to be done.
pub fn hint(files: &[File], complete: bool) -> String {
    let Some(file) = files.iter().find(|file| file.mixed && !file.coherent) else {
        return match complete {
            true => String::new(),
            false => "ask as root to see all processes".to_owned(),
        };
    };
    let programs = |chosen: &dyn Fn(&User) -> bool| {
        let chosen = file.users.iter().filter(|user| chosen(user));
        let mut all: Vec<&str> = chosen.map(|user| user.who.program.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all.join(", ")
    };
    let bare = programs(&|user| !user.fence.fenced);
    let mut hint = if !bare.is_empty() {
        format!(
            "start {bare} by `pagefence run -- PROGRAM` (`pagefence doctor PID` says whether that can be done), or have all of them use one mode"
        )
    } else if file.tables() > 1 {
        "have them name one table: PAGEFENCE_TABLE, or `table` in the policy".to_owned()
    } else {
        let left_out = programs(&|user| !user.fence.enforced());
        format!("write mode = \"enforce\" for this file in the policy of {left_out}")
    };
    if !file.is_written() {
        hint += "; nobody who is seen can write to it: readers alone lose nothing";
    }
    hint
}
