//! `pagefence metrics`: numbers for Prometheus, served, written to a file or printed.

pub mod args;
mod ending;
mod gather;
mod serve;
mod textfile;

use args::MetricsArgs;

use crate::failure::Failure;
use crate::say::answer;
use gather::Gatherer;

pub fn metrics(arguments: &MetricsArgs) -> Result<i32, Failure> {
    let trace = arguments
        .trace
        .clone()
        .or_else(crate::top::trace_of_environment);
    let mut gatherer = Gatherer::new(trace.as_deref())?;
    if let Some(address) = arguments.listen {
        return serve::serve(address, &mut gatherer);
    }
    if let Some(file) = &arguments.textfile {
        return textfile::write(file, arguments.every, &mut gatherer);
    }
    answer(gatherer.text())?;
    Ok(0)
}
