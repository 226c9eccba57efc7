//! The pages of the book that are made from the code: what they tell stands there, and only there.

mod errors;
mod events;
mod policy;

pub struct Page {
    /// From the repository's top on.
    pub name: &'static str,
    pub text: String,
}

pub fn pages() -> [Page; 3] {
    [
        Page {
            name: "docs/policy-reference.md",
            text: policy::page(),
        },
        Page {
            name: "docs/events.md",
            text: events::page(),
        },
        Page {
            name: "docs/errors.md",
            text: errors::page(),
        },
    ]
}

/// How such a page is made.
const MADE: &str = "`cargo run --release --bin book`";

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
