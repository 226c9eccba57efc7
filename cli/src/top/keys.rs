//! What the keys do: what is shown, in which order, and how far down.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sheets::{Sheet, Tab};
use crate::watched::Now;

/// What has been chosen, of one tab.
#[derive(Clone, Copy, Default)]
pub struct Order {
    pub column: Option<usize>,
    pub reverse: bool,
    pub down: usize,
}

pub struct Chosen {
    pub tab: Tab,
    orders: [Order; 3],
    pub filter: String,
    /// The filter is being written.
    pub writing: bool,
    pub paused: bool,
    pub ends: bool,
}

impl Chosen {
    pub fn new() -> Chosen {
        Chosen {
            tab: Tab::Files,
            orders: [Order::default(); 3],
            filter: String::new(),
            writing: false,
            paused: false,
            ends: false,
        }
    }

    pub fn order(&mut self) -> &mut Order {
        let [files, processes, ranges] = &mut self.orders;
        match self.tab {
            Tab::Files => files,
            Tab::Processes => processes,
            Tab::Ranges => ranges,
        }
    }

    /// What is to be shown now.
    pub fn sheet(&mut self, now: &Now) -> Sheet {
        let mut sheet = Sheet::of(self.tab, now);
        sheet.filter(&self.filter);
        let order = self.order();
        if let Some(column) = order.column {
            sheet.sort(column, order.reverse);
        }
        order.down = order.down.min(sheet.rows.len().saturating_sub(1));
        sheet
    }

    pub fn press(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => self.ends = true,
            code if self.writing => self.write(code),
            KeyCode::Char('q') => self.ends = true,
            KeyCode::Char('1') => self.tab = Tab::Files,
            KeyCode::Char('2') => self.tab = Tab::Processes,
            KeyCode::Char('3') => self.tab = Tab::Ranges,
            KeyCode::Tab => {
                self.tab = match self.tab {
                    Tab::Files => Tab::Processes,
                    Tab::Processes => Tab::Ranges,
                    Tab::Ranges => Tab::Files,
                }
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('/') => self.writing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('r') => {
                let order = self.order();
                order.reverse = !order.reverse;
            }
            code => self.go(code),
        }
    }

    fn write(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.writing = false,
            KeyCode::Esc => {
                self.writing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }

    /// After the last one, in the order that they come in.
    fn sort_by_next(&mut self) {
        let columns = match self.tab {
            Tab::Files => 7,
            Tab::Processes => 10,
            Tab::Ranges => 8,
        };
        let order = self.order();
        order.column = match order.column {
            None => Some(0),
            Some(last) if last + 1 < columns => Some(last + 1),
            Some(_) => None,
        };
    }

    fn go(&mut self, code: KeyCode) {
        const PAGE: usize = 10;
        let order = self.order();
        order.down = match code {
            KeyCode::Down | KeyCode::Char('j') => order.down + 1,
            KeyCode::Up | KeyCode::Char('k') => order.down.saturating_sub(1),
            KeyCode::PageDown => order.down + PAGE,
            KeyCode::PageUp => order.down.saturating_sub(PAGE),
            KeyCode::Home => 0,
            _ => order.down,
        };
    }
}
