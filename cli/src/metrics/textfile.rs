//! A file of numbers: it is there as a whole or as it was before, whoever reads it and whatever ends us.

use std::path::Path;
use std::time::Duration;

use super::ending::Ending;
use super::gather::Gatherer;
use crate::failure::Failure;
use crate::told::put;

pub fn write(
    file: &Path,
    every: Option<Duration>,
    gatherer: &mut Gatherer,
) -> Result<i32, Failure> {
    let ending = Ending::watch()?;
    loop {
        let text = gatherer.text();
        put::put(file, |out| out.write_all(text.as_bytes()))?;
        match every {
            Some(time) if ending.sleep(time) => {}
            _ => return Ok(0),
        }
    }
}
