//! Prints the page that says what is covered, from the library that is built.

use pagefence_tests::{artefacts, covered};

fn main() -> Result<(), String> {
    let library = artefacts::library()?;
    print!("{}", covered::page(&covered::calls(&library)));
    Ok(())
}
