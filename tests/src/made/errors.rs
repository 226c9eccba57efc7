//! The page of errors, from the catalogue that the library and the command say them from.

use super::{MADE, cell};
use kernel::errors::{Entry, OF_COMMAND, OF_LIBRARY, OF_MACHINE, OF_OTHERS, OF_TABLE, Says};
use std::fmt::Write;

pub fn page() -> String {
    let mut page = format!(
        "\
# Errors

What is said of what can't be done: what, why, and what to do, from the catalogue that says it
([`errors`](../kernel/src/errors.rs)): {MADE} makes this page, and a test provokes each. *...* stands for what it is about. What
isn't in the catalogue yet: what the system itself refuses (behind a path), sandboxes, and what is rare.

## What `pagefence run` says

Before the program runs, and the exit code. The second line of the message is what to do.
"
    );
    for entry in OF_COMMAND {
        page.push_str(&of(entry));
    }
    page.push_str(
        "
## What the library says

On standard error and in traces, as the `reason` and the `hint` of an [event](events.md) `uncovered`; what is *said by both*
above, too. With [`on_uncovered = \"refuse\"`](policy.md#refuse-what-cant-be-covered) many of them fail instead.
",
    );
    for entry in OF_LIBRARY {
        page.push_str(&of(entry));
    }
    page.push_str(
        "
## What is wrong with a lock table

Behind `lock table PATH:`, by the command, and by the library as the reason of an [event](events.md) `table_error`.
",
    );
    for entry in OF_TABLE {
        page.push_str(&of(entry));
    }
    page.push_str(
        "
## Why the machine's table can't be joined

By the command before the program runs, and by the library as an [event](events.md) `uncovered`; with
[`on_table_error = \"refuse\"`](policy.md) as a `table_error`. Each is said once.
",
    );
    for entry in OF_MACHINE {
        page.push_str(&of(entry));
    }
    page.push_str(
        "
## What other commands say

And the exit code. The second line of the message is what to do.
",
    );
    for entry in OF_OTHERS {
        page.push_str(&of(entry));
    }
    page
}

fn of(entry: &Entry) -> String {
    let said = match entry.says {
        Says::Command(code) => format!("*exits with {code}*. "),
        Says::Both(code) => format!("*exits with {code}; said by both*. "),
        Says::Library | Says::Table | Says::Machine => String::new(),
    };
    let shown = |text: &str| cell(text.split("\n\n").next().unwrap_or("")).replace("{}", "...");
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n* **{}** {said}{}\n  *What to do:* {}.",
        shown(entry.what),
        entry.why,
        shown(entry.todo)
    );
    text
}
