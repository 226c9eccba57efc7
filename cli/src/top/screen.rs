//! The terminal: it is taken, drawn on and given back, whatever ends us.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::heading;
use super::keys::Chosen;
use super::sheets::{Sheet, Tab};
use crate::failure::Failure;
use crate::watched::{Now, Watch};

/// How long a signal may go unnoticed.
const NOTICE: Duration = Duration::from_millis(150);
/// No column but the widest takes more than so many cells.
const NARROW: usize = 28;

/// Until it is told to end: by a key (0) or a signal.
pub fn run(watch: &mut Watch, interval: Duration) -> Result<i32, Failure> {
    let failed = |error: std::io::Error| Failure::new(1, format!("the terminal: {error}"), "");
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)
            .map_err(failed)?;
    }
    show_cursor_after_a_panic();
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let result = show(&mut terminal, watch, interval, &signal);
    let restored = ratatui::try_restore();
    match signal.load(Ordering::Relaxed) {
        0 => result.and(restored).map(|()| 0).map_err(failed),
        // What was lost with the terminal is nobody's affair.
        signal => Ok(128 + signal as i32),
    }
}

/// ratatui leaves the screen and the raw mode then, and the cursor hidden: nothing is dropped, as a panic aborts.
fn show_cursor_after_a_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |about| {
        let _ = ratatui::crossterm::execute!(std::io::stdout(), Show);
        before(about);
    }));
}

fn show(
    terminal: &mut DefaultTerminal,
    watch: &mut Watch,
    interval: Duration,
    signal: &AtomicUsize,
) -> std::io::Result<()> {
    let mut chosen = Chosen::new();
    let mut now = watch.look();
    let mut next = Instant::now() + interval;
    while !chosen.ends && signal.load(Ordering::Relaxed) == 0 {
        if Instant::now() >= next && !chosen.paused {
            now = watch.look();
            next = Instant::now() + interval;
        }
        terminal.draw(|frame| draw(frame, &now, &mut chosen))?;
        let left = next.saturating_duration_since(Instant::now());
        let wait = if chosen.paused {
            NOTICE
        } else {
            left.min(NOTICE)
        };
        if event::poll(wait)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            chosen.press(key);
        }
    }
    Ok(())
}

fn draw(frame: &mut Frame, now: &Now, chosen: &mut Chosen) {
    let parts = [
        Constraint::Length(4),
        Constraint::Min(1),
        Constraint::Length(1),
    ];
    let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
    let mut lines: Vec<Line> = heading(now)
        .lines()
        .map(|line| Line::from(line.to_owned()))
        .collect();
    lines.push(Line::default());
    lines.truncate(3);
    lines.push(tabs(chosen));
    frame.render_widget(Paragraph::new(lines), head);
    let sheet = chosen.sheet(now);
    let order = *chosen.order();
    frame.render_widget(table(&sheet, order.column, order.down), body);
    frame.render_widget(Paragraph::new(footer(chosen, &sheet)), foot);
}

fn tabs(chosen: &Chosen) -> Line<'static> {
    let shown = Tab::ALL.iter().zip(1..).map(|(tab, number)| {
        let style = match *tab == chosen.tab {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        ratatui::text::Span::styled(format!(" {number} {} ", tab.title()), style)
    });
    Line::from(shown.collect::<Vec<_>>())
}

fn footer(chosen: &Chosen, sheet: &Sheet) -> String {
    if chosen.writing {
        return format!("show only what has: {}_", chosen.filter);
    }
    let paused = if chosen.paused { "PAUSED  " } else { "" };
    let filter = match chosen.filter.as_str() {
        "" => String::new(),
        filter => format!("only what has {filter:?} (Esc: all)  "),
    };
    format!(
        "{paused}{filter}{} rows  q quit  Tab next  s sort  r reverse  / filter  space pause",
        sheet.rows.len()
    )
}

fn table<'a>(sheet: &'a Sheet, sorted: Option<usize>, down: usize) -> Table<'a> {
    let shown = || sheet.rows.iter().skip(down);
    let width = |column: usize| {
        let cells = shown().filter_map(|row| row.get(column));
        let widest = cells
            .map(|cell| Line::from(cell.text.as_str()).width())
            .max();
        let head = sheet.head.get(column).map_or(0, |head| head.len() + 1);
        widest.unwrap_or(0).max(head)
    };
    let widths = (0..sheet.head.len()).map(|column| match column == sheet.wide {
        true => Constraint::Min(width(column).min(NARROW) as u16),
        false => Constraint::Length(width(column).min(NARROW) as u16),
    });
    let head = sheet.head.iter().enumerate().map(|(column, word)| {
        let mark = if sorted == Some(column) { "*" } else { "" };
        Cell::from(format!("{word}{mark}"))
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let rows = shown().map(|row| {
        let mixed = row.iter().any(|cell| cell.text.starts_with("MIXED"));
        let waits = row.iter().any(|cell| cell.text.starts_with("waits"));
        let style = match (mixed, waits) {
            (true, _) => Style::new().fg(Color::Red),
            (_, true) => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        Row::new(row.iter().map(|cell| Cell::from(cell.text.as_str()))).style(style)
    });
    Table::new(rows, widths)
        .header(Row::new(head).style(bold))
        .column_spacing(2)
}
