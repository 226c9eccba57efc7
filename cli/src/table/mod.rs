//! `pagefence table`: lock tables made, listed, shown, repaired and removed.

pub mod args;
mod create;
mod list;
mod mend;

use args::TableCommand;

use crate::failure::Failure;

pub fn table(command: &TableCommand) -> Result<i32, Failure> {
    match command {
        TableCommand::Create(arguments) => create::create(arguments),
        TableCommand::List(arguments) => list::list(arguments),
        TableCommand::Show(arguments) => list::show(arguments),
        TableCommand::Repair(arguments) => mend::repair(arguments),
        TableCommand::Remove(arguments) => mend::remove(arguments),
    }
}
