//! The pages there are, as mdBook reads them.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the repository")
}

pub struct Page {
    /// From the repository's top on.
    pub name: String,
    text: String,
}

impl Page {
    pub fn read(name: &str) -> Page {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text = with_included(&text, path.parent().expect("a directory"));
        Page {
            name: name.to_owned(),
            text,
        }
    }

    fn events(&self) -> Parser<'_> {
        let extensions = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
        Parser::new_ext(&self.text, extensions)
    }

    /// One that isn't there.
    pub fn of(name: &str, text: &str) -> Page {
        Page {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    /// What links and pictures name.
    pub fn links(&self) -> Vec<String> {
        let named = self.events().filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.to_string())
            }
            _ => None,
        });
        named.collect()
    }

    /// The names that its headings have in links.
    pub fn anchors(&self) -> BTreeSet<String> {
        let (mut all, mut heading) = (BTreeSet::new(), None::<String>);
        for event in self.events() {
            match (event, &mut heading) {
                (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
                (Event::End(TagEnd::Heading(_)), Some(text)) => {
                    let name = anchor(text);
                    let again = (1..).map(|n| format!("{name}-{n}"));
                    let free = std::iter::once(name.clone()).chain(again);
                    let free = free.into_iter().find(|name| !all.contains(name));
                    all.extend(free);
                    heading = None;
                }
                (Event::Text(text) | Event::Code(text), Some(heading)) => heading.push_str(&text),
                _ => {}
            }
        }
        all
    }
    /// Its fenced boxes: what their first line says, and what they hold.
    pub fn boxes(&self) -> Vec<(String, String)> {
        let (mut all, mut open) = (Vec::new(), None::<(String, String)>);
        for event in self.events() {
            match (event, &mut open) {
                (Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))), _) => {
                    open = Some((kind.to_string(), String::new()));
                }
                (Event::Text(text), Some((_, held))) => held.push_str(&text),
                (Event::End(TagEnd::CodeBlock), Some(_)) => all.extend(open.take()),
                _ => {}
            }
        }
        all
    }
}

/// What `{{#include FILE}}` brings in.
fn with_included(text: &str, from: &Path) -> String {
    const INCLUDE: &str = "{{#include ";
    let Some((before, rest)) = text.split_once(INCLUDE) else {
        return text.to_owned();
    };
    let (file, after) = rest.split_once("}}").expect("the end of an include");
    let path = from.join(file);
    let included = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    format!("{before}{included}{}", with_included(after, from))
}

/// As mdBook and forges make it.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    letters.collect()
}

/// All pages of the repository that people read: README and the book's.
pub fn all() -> Vec<Page> {
    let mut names = vec!["README.md".to_owned()];
    for dir in ["docs", "docs/recipes"] {
        for entry in fs::read_dir(root().join(dir)).into_iter().flatten() {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a name");
            if name.ends_with(".md") {
                names.push(format!("{dir}/{name}"));
            }
        }
    }
    names.sort();
    assert!(names.len() > 15, "the book is somewhere else: {names:?}");
    names.iter().map(|name| Page::read(name)).collect()
}
