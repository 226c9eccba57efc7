//! The judge of rounds: knows what the file must hold, and compares it, once all is quiet, with what the
//! page cache shows and with what the device holds.

use crate::content::{Model, Wrong};
use crate::harness::{Setup, Stop};
use crate::sys::{Buffer, Fd, Res};

pub struct Referee<'a> {
    setup: &'a Setup,
    pub model: Model,
    buffered: Fd,
    direct: Fd,
    size: u64,
    buffer: Buffer,
}

/// What was found wrong after a round.
pub struct Verdict {
    pub cache: Option<Wrong>,
    pub device: Option<Wrong>,
}

impl Verdict {
    pub fn wrong(&self) -> Option<String> {
        match (&self.cache, &self.device) {
            (Some(cache), _) => Some(format!("in the page cache, {}", cache.explain())),
            (None, Some(device)) => Some(format!("on the device only, {}", device.explain())),
            (None, None) => None,
        }
    }
}

impl<'a> Referee<'a> {
    /// Makes the file, all of write 0.
    pub fn new(setup: &'a Setup, size: u64) -> Res<Referee<'a>> {
        let buffered = Fd::open(&setup.file(), libc::O_RDWR | libc::O_CREAT)?;
        let direct = setup.open_direct()?;
        let mut referee = Referee {
            setup,
            model: Model::new(size, 0),
            buffered,
            direct,
            size,
            buffer: Buffer::new(size)?,
        };
        referee.restore(0, size)?;
        Ok(referee)
    }

    /// Writes what must be there, through the page cache, so that cache and device agree again.
    fn restore(&mut self, offset: u64, len: u64) -> Res<()> {
        let bytes = self.buffer.part(len);
        self.model.copy_to(offset, bytes)?;
        self.buffered.pwrite(bytes, offset)?;
        self.settle()
    }

    /// Everything to the device, as little as possible in the cache. An error of an earlier writeback is no
    /// matter here: what counts is the content.
    fn settle(&self) -> Res<()> {
        self.buffered.fsync()?;
        self.buffered.drop_cache();
        Ok(())
    }

    /// After a round, when no call is in flight: compares `offset..offset + len`. `allow` names what is right
    /// besides the model; `cut`: a call was cut short by a kill, so cache and device may each show part of it.
    pub fn judge(
        &mut self,
        offset: u64,
        len: u64,
        cut: bool,
        allow: &dyn Fn(u64, u64) -> bool,
    ) -> Res<Verdict> {
        let bytes = self.buffer.part(len);
        self.buffered.pread_all(bytes, offset)?;
        let cache = self.model.check(offset, bytes, allow);
        if cache.is_none() && !cut {
            // From here on cache and device must agree, also where more than one value was right.
            self.model.adopt(offset, bytes);
        }
        self.settle()?;
        let bytes = self.buffer.part(len);
        self.direct.pread_all(bytes, offset)?;
        let none = |_, _| false;
        let device = self
            .model
            .check(offset, bytes, if cut { allow } else { &none });
        if cut && device.is_none() {
            self.model.adopt(offset, bytes);
        }
        let verdict = Verdict { cache, device };
        if cut || verdict.wrong().is_some() {
            self.restore(offset, len)?;
        }
        Ok(verdict)
    }

    /// As `judge`, and counts what is wrong as one anomaly.
    pub fn count(
        &mut self,
        what: &str,
        offset: u64,
        len: u64,
        cut: bool,
        allow: &dyn Fn(u64, u64) -> bool,
    ) -> Res<()> {
        let verdict = self.judge(offset, len, cut, allow)?;
        if let Some(wrong) = verdict.wrong() {
            self.setup
                .board
                .anomaly(verdict.device.is_some(), || format!("{what}: {wrong}"));
        }
        Ok(())
    }

    /// At the end, all workers gone: the whole file.
    pub fn last_look(&mut self) -> Result<(), Stop> {
        let size = self.size;
        self.count("at the end", 0, size, false, &|_, _| false)?;
        Ok(())
    }
}
