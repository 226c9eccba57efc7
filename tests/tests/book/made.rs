//! Pages that are made from the code are what the code says, and mdBook makes the book of all.

use crate::pages::{all, root};
use pagefence_tests::{made, skip};
use std::process::Command;

#[test]
fn made_pages_are_up_to_date() {
    for page in made::pages() {
        let there = std::fs::read_to_string(root().join(page.name)).unwrap_or_default();
        assert!(
            there == page.text,
            "{} is not what the code says: cargo run --release --bin book",
            page.name
        );
    }
}

/// `PAGEFENCE_TEST_MDBOOK` names mdBook, which takes minutes to build: with `scripts/test --long`.
#[test]
fn mdbook_makes_the_book() {
    let Some(mdbook) = std::env::var_os("PAGEFENCE_TEST_MDBOOK") else {
        if pagefence_tests::long() {
            skip("PAGEFENCE_TEST_MDBOOK is not set, so the book isn't made");
        }
        return;
    };
    let into = tempfile::tempdir().expect("a directory");
    let mut build = Command::new(mdbook);
    build.args(["build", "docs", "--dest-dir"]).arg(into.path());
    let output = build.current_dir(root()).output().expect("mdBook");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    for page in all() {
        let name = page
            .name
            .strip_prefix("docs/")
            .map(|n| n.replace(".md", ".html"));
        let Some(name) = name.filter(|name| name != "SUMMARY.html") else {
            continue;
        };
        assert!(into.path().join(&name).is_file(), "{name} wasn't made");
    }
}
