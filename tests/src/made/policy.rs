//! The reference of the policy, from the crate that reads it.

use super::{MADE, cell};
use policy::{CONDITIONS, Key, Settings};
use std::fmt::Write;

pub fn page() -> String {
    let mut page = format!(
        "\
# The policy: reference

Each key, with its values and what they mean, from the crate that reads policies ([`policy`](../policy/src/keys.rs)):
{MADE} makes this page. How rules, names and routes work together: [the policy](policy.md).
`pagefence policy check FILE` says what is wrong with one, and `pagefence policy explain PATH` what holds for a file, and why.

## A rule's conditions

All that a `[[rule]]` names must hold for it to match; it has one of these at least, and may have a `name` for reports.

| condition | holds if |
|---|---|
"
    );
    for (name, says) in CONDITIONS {
        let _ = writeln!(page, "| `{name}` | {} |", cell(says));
    }
    page.push_str("\n## Keys\n\nUnder `[defaults]`, or in a rule where that is said.\n");
    for key in Key::ALL {
        page.push_str(&of(key));
    }
    page
}

fn of(key: Key) -> String {
    let place = match key.is_for_defaults_only() {
        true => "Under `[defaults]` only.",
        false => "Under `[defaults]` and in rules.",
    };
    let built_in = Settings::BUILT_IN.show(key);
    let mut text = format!(
        "\n### `{}`\n\n{} {place} Built in: `{built_in}`.\n\n| value | what it means |\n|---|---|\n",
        key.name(),
        key.says()
    );
    for (value, says) in key.values() {
        let _ = match says.is_empty() {
            true => writeln!(text, "| {} | |", cell(value)),
            false => writeln!(text, "| `{value}` | {} |", cell(says)),
        };
    }
    text
}
