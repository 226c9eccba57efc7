//! How far a long reading is: a line on the terminal, and nothing where standard error is none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use report::Folder;
use report::OneRing;

/// Fewer are read before anybody looks.
const MANY: usize = 16;

/// Gone with this.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn of(rings: &[OneRing]) -> Progress {
        let target = match rings.len() > MANY {
            // None of it where that is no terminal; so many times a second where it is.
            true => ProgressDrawTarget::stderr_with_hz(4),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(rings.len() as u64), target);
        // Without colours, for everybody.
        let style =
            ProgressStyle::with_template("{bar:30} {pos} of {len} rings, {elapsed}, {eta} to go");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress(bar)
    }

    /// Each event of each ring, ring by ring.
    pub fn each(
        &self,
        folder: &mut Folder,
        rings: &[OneRing],
        mut each: impl FnMut(report::Event),
    ) {
        self.each_ring(rings, |ring| folder.each_of(ring, &mut each));
    }

    /// Ring by ring.
    pub fn each_ring(&self, rings: &[OneRing], mut each: impl FnMut(&OneRing)) {
        for ring in rings {
            each(ring);
            self.0.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
