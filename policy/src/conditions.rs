//! The conditions of a rule: lists of globs and names, checked with the place of each error.

use toml::Spanned;
use toml::de::DeValue;

use crate::parse::{Reader, a_type, list};
use crate::pattern::Glob;
use crate::{filesystem, is_kernel_filesystem, suggest};

type Value<'i> = Spanned<DeValue<'i>>;

/// The conditions that a rule may have, and what each means.
pub const CONDITIONS: [(&str, &str); 3] = [
    (
        "path",
        "Globs, one of which the file's resolved path matches, from the root on.",
    ),
    (
        "program",
        "Globs, one of which the file name of the program matches, as it was started.",
    ),
    (
        "filesystem",
        "Names of filesystems, on one of which the file lies.",
    ),
];

/// `path`: globs on the resolved path, from the root.
pub(crate) fn paths(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<Glob> {
    let check = |reader: &mut Reader<'_>, value: &Value<'_>, text: &str| {
        if !text.starts_with('/') {
            reader.error(
                value.span(),
                format!("the glob \"{text}\" is not absolute"),
                format!("globs match whole resolved paths: begin with /, as in \"/**/{text}\""),
            );
            return None;
        }
        if text.split('/').any(|part| part == "." || part == "..") {
            reader.error(
                value.span(),
                format!("the glob \"{text}\" has a `.` or `..` in it"),
                "resolved paths have none, so it would match nothing: write the path without",
            );
            return None;
        }
        if text.ends_with('/') || text.contains("//") {
            reader.error(
                value.span(),
                format!("the glob \"{text}\" has an empty component"),
                "resolved paths of files have none, so it would match nothing; all below a directory is \"/srv/db/**\"",
            );
            return None;
        }
        pattern(reader, value, text)
    };
    each(reader, value, "path", "[\"/srv/db/**/*.ibd\"]", check)
}

/// `program`: globs on the file name of the executable.
pub(crate) fn programs(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<Glob> {
    let check = |reader: &mut Reader<'_>, value: &Value<'_>, text: &str| {
        if text.contains('/') {
            let last = text.rsplit('/').next().unwrap_or_default();
            reader.error(
                value.span(),
                format!("the program \"{text}\" is a path"),
                format!("programs are matched by their file name: \"{last}\""),
            );
            return None;
        }
        pattern(reader, value, text)
    };
    each(reader, value, "program", "[\"mariadbd\"]", check)
}

/// `filesystem`: names, without wildcards.
pub(crate) fn filesystems(reader: &mut Reader<'_>, value: &Value<'_>) -> Vec<String> {
    let check = |reader: &mut Reader<'_>, value: &Value<'_>, text: &str| {
        let accepted = filesystem::accepted();
        if accepted.contains(&text) {
            return Some(text.to_owned());
        }
        let hint = if is_kernel_filesystem(text) {
            "files of the kernel's own filesystems are never fenced: leave it out".to_owned()
        } else if matches!(text, "ext2" | "ext3") {
            "ext2, ext3 and ext4 can't be told apart by a program: write \"ext4\"".to_owned()
        } else {
            let all = format!("accepted: {}", list(&accepted, "\""));
            match suggest::nearest(text, &accepted) {
                Some(nearest) => format!("did you mean \"{nearest}\"? {all}"),
                None => all,
            }
        };
        reader.error(value.span(), format!("unknown filesystem \"{text}\""), hint);
        None
    };
    each(reader, value, "filesystem", "[\"ext4\", \"xfs\"]", check)
}

/// Checks every text of a list.
fn each<T>(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    name: &str,
    example: &str,
    check: impl Fn(&mut Reader<'_>, &Value<'_>, &str) -> Option<T>,
) -> Vec<T> {
    let Some(array) = value.get_ref().as_array() else {
        let hint = match value.get_ref().as_str() {
            Some(_) => format!("write a list: {name} = [{}]", reader.text(value.span())),
            None => format!("write a list of texts: {name} = {example}"),
        };
        let message = format!("`{name}` is {}, not a list", a_type(value.get_ref()));
        reader.error(value.span(), message, hint);
        return Vec::new();
    };
    if array.is_empty() {
        reader.error(
            value.span(),
            format!("`{name}` is empty: the rule would match nothing"),
            format!("write what it is for, as in {name} = {example}, or leave `{name}` out"),
        );
    }
    let mut checked = Vec::new();
    for value in array {
        match value.get_ref().as_str() {
            Some(text) => checked.extend(check(reader, value, text)),
            None => reader.error(
                value.span(),
                format!("{} in `{name}`", a_type(value.get_ref())),
                format!("write texts in quotes: {name} = {example}"),
            ),
        }
    }
    checked
}

fn pattern(reader: &mut Reader<'_>, value: &Value<'_>, text: &str) -> Option<Glob> {
    if text.is_empty() {
        reader.error(
            value.span(),
            "an empty glob",
            "write what it is for, or leave it out",
        );
        return None;
    }
    match Glob::parse(text) {
        Ok(glob) => Some(glob),
        Err(error) => {
            reader.error(
                place(reader, value, text, error.position),
                format!("bad glob \"{text}\": {}", error.message),
                "`*` stays in one directory, `**` as a whole component crosses directories, `?` is one character, `[abc]` one of a set; `[*]`, `[?]` and `[[]` are the characters themselves",
            );
            None
        }
    }
}

/// Where in the file the character of the glob is; the whole text when it is written with escapes.
fn place(
    reader: &Reader<'_>,
    value: &Value<'_>,
    text: &str,
    position: usize,
) -> std::ops::Range<usize> {
    let span = value.span();
    let raw = reader.text(span.clone());
    let plain = raw.len() == text.len() + 2 && raw.get(1..raw.len() - 1) == Some(text);
    match text.char_indices().nth(position) {
        Some((byte, character)) if plain => {
            let start = span.start + 1 + byte;
            start..start + character.len_utf8()
        }
        _ => span,
    }
}
