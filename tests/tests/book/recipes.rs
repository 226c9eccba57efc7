//! The recipes: each was followed word for word where Pagefence is installed, in a root of its own.

use crate::console::{differences, of};
use crate::pages::{Page, all};
use crate::shell::answers_where_installed;
use pagefence_tests::{is_root, long, skip};
use std::sync::Mutex;

pub const RECIPES: &str = "docs/recipes/";

/// The one that takes seconds; the others measure, for minutes.
const QUICK: &str = "card";

fn followed(name: &str) {
    if name != QUICK && !long() {
        return eprintln!("left out but for scripts/test recipes, or --long: {name}");
    }
    if !is_root() {
        return skip("a root of its own needs root");
    }
    // What they measure is disturbed by others, and each wants hundreds of megabytes of one filesystem.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let page = Page::read(&format!("{RECIPES}{name}.md"));
    let commands = of(&page);
    assert!(commands.len() > 5, "only {} commands", commands.len());
    let strange = differences(&page, &commands, answers_where_installed);
    assert!(strange.is_empty(), "{}", strange.join("\n"));
}

/// A test for each page, so that one can be asked for; and one that finds a page without a test.
macro_rules! recipes {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                followed(stringify!($name));
            }
        )*

        #[test]
        fn each_is_followed() {
            let pages = all().into_iter();
            let pages = pages.filter(|page| page.name.starts_with(RECIPES));
            let pages: Vec<_> = pages.map(|page| page.name).collect();
            let followed = [$(concat!("docs/recipes/", stringify!($name), ".md")),*];
            assert_eq!(pages, followed);
        }
    };
}

recipes! { card direct_io mariadb postgresql rocksdb vm }
