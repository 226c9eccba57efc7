//! SIGINT and SIGTERM end what would go on: a request is answered to its end, and a file is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

/// How long a signal may go unnoticed.
pub const NOTICE: Duration = Duration::from_millis(200);

pub struct Ending(Arc<AtomicBool>);

impl Ending {
    pub fn watch() -> Result<Ending, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, flag.clone())
                .map_err(|error| Failure::new(1, format!("signals: {error}"), ""))?;
        }
        Ok(Ending(flag))
    }

    pub fn is_here(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether that time is over, and not we.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_here() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NOTICE));
        }
        false
    }
}
