//! Rows in columns, for people: as wide as the terminal, and as they come where there is none.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Row, Table, presets};

/// Lines, each with a blank before it and none behind.
pub fn columns(head: &[&str], rows: impl IntoIterator<Item: Into<Row>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if std::io::stdout().is_terminal()
        && let Some((width, _)) = terminal_size::terminal_size()
    {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width.0);
    }
    table.set_header(head).add_rows(rows);
    let text = table.trim_fmt();
    text.lines().map(|line| format!(" {line}\n")).collect()
}
