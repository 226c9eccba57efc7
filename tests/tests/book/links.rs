//! Links lead to files that are there, and to headings that they have.

use crate::pages::{Page, all, root};
use std::collections::BTreeSet;
use std::path::Path;

/// What is wrong with a link of this page.
fn wrong(page: &Page, link: &str) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let from = Path::new(&page.name).parent().unwrap_or(Path::new(""));
    let path = match file {
        "" => root().join(&page.name),
        _ => root().join(from).join(file),
    };
    let Ok(path) = path.canonicalize() else {
        return Some(format!("{}: {link}: no such file", page.name));
    };
    let Ok(name) = path.strip_prefix(root()) else {
        return Some(format!("{}: {link}: out of the repository", page.name));
    };
    if heading.is_empty() {
        return None;
    }
    let there = Page::read(name.to_str().expect("a name")).anchors();
    let missing = !there.contains(heading);
    missing.then(|| format!("{}: {link}: no such heading: {there:?}", page.name))
}

#[test]
fn links_lead_somewhere() {
    let (mut seen, mut strange) = (0, Vec::new());
    for page in all() {
        for link in page.links() {
            seen += 1;
            strange.extend(wrong(&page, &link));
        }
    }
    assert!(seen > 80, "only {seen} links are seen");
    assert!(strange.is_empty(), "{}", strange.join("\n"));
}

#[test]
fn the_contents_list_every_page() {
    let listed: Vec<String> = Page::read("docs/SUMMARY.md").links();
    let unique: BTreeSet<String> = listed.iter().map(|name| format!("docs/{name}")).collect();
    assert_eq!(listed.len(), unique.len(), "a page stands there twice");
    let pages = all().into_iter().map(|page| page.name);
    let pages: BTreeSet<String> = pages
        .filter(|name| name != "README.md" && name != "docs/SUMMARY.md")
        .collect();
    assert_eq!(
        listed
            .iter()
            .map(|name| format!("docs/{name}"))
            .collect::<BTreeSet<_>>(),
        pages
    );
}

/// A page that is one screen more each month isn't read.
#[test]
fn readme_is_one_screen() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README");
    let lines = text.lines().count();
    assert!(
        lines <= 40,
        "README has {lines} lines: move what it tells to the book"
    );
}
