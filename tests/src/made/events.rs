//! The reference of events, from the crates that tell and report them.

use super::{MADE, cell};
use std::fmt::Write;
use trace::Kind;

pub fn page() -> String {
    let mut page = format!(
        "\
# Events: reference

What can be told, on stderr, in traces and in reports, from the vocabulary ([`trace`](../trace/src/kind.rs)) and from what
reports advise ([`report`](../report/src/verdict.rs)): {MADE} makes this page.
`PAGEFENCE_LOG` says which of them go to stderr ([the environment](policy.md#the-environment)); [a trace](traces.md) has all.

| event | what has happened | what to do about a file that has it |
|---|---|---|
"
    );
    for kind in Kind::ALL {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            kind.word(),
            cell(kind.says()),
            cell(report::way_out(*kind))
        );
    }
    page
}
