//! The model's kernel: one file's pages, its device, and the steps that a system call is made of.
//!
//! It is the weakest kernel that the protocol must do with. A direct write takes three steps (flush and drop; write the
//! device; drop again) and nothing of the kernel's keeps other calls out meanwhile. Folios are dirtied, written back and
//! dropped as a whole. Pages that somebody refers to can't be dropped. A layout call doesn't wait for direct I/O in
//! flight. What it does guarantee: a buffered write is one step (the inode's lock), and nothing is read into pages
//! while a layout call is between its steps (the invalidate lock, since Linux 5.15).
//! A writeback is one step: all that could meet it half done waits for it.

pub const CELLS: usize = 8;
pub const PAGE: usize = 2;
pub const UNIT: usize = 4;

/// What a cell holds: the number of the call that wrote it, or made it zero. 0: what was there at first.
pub type Tag = u8;

/// What kernels and filesystems differ in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kind {
    /// A folio has two pages, and is a whole unit.
    pub large: bool,
    /// Of a folio that calls have written to, only the pages that they wrote are dirty (iomap since Linux 6.6, buffer
    /// heads). A store through a mapping makes all of it dirty in any kernel.
    pub by_page: bool,
    /// A direct write whose pages can't be dropped beforehand goes on all the same (iomap before Linux 5.9) instead of
    /// falling back to the cache by itself.
    pub goes_on: bool,
    /// It writes nothing back by itself.
    pub rests: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    pub kind: Kind,
    pub size: u8,
    pub device: [Tag; CELLS],
    pub cache: [Tag; CELLS],
    /// What the kernel zeroes a cell to: who made it zero last.
    pub zero: [Tag; CELLS],
    /// By folio.
    present: u8,
    /// By page.
    dirty: u8,
    /// Which threads refer to a folio: they read from it, or direct I/O goes into it.
    refs: [u8; CELLS / PAGE],
    /// A layout call is between its steps.
    pub changing: bool,
    /// By process: its second descriptor hasn't been told of the last writeback error.
    pub untold: u8,
}

impl Kernel {
    pub fn new(kind: Kind, size: u8) -> Kernel {
        Kernel {
            kind,
            size,
            device: [0; CELLS],
            cache: [0; CELLS],
            zero: [0; CELLS],
            present: 0,
            dirty: 0,
            refs: [0; CELLS / PAGE],
            changing: false,
            untold: 0,
        }
    }

    fn folio_cells(&self) -> usize {
        if self.kind.large { UNIT } else { PAGE }
    }

    fn folio(&self, cell: usize) -> usize {
        cell / self.folio_cells()
    }

    fn cells(&self, folio: usize) -> core::ops::Range<usize> {
        let n = self.folio_cells();
        folio * n..folio * n + n
    }

    /// The folios that a range of cells touches.
    fn folios(&self, first: usize, last: usize) -> core::ops::RangeInclusive<usize> {
        self.folio(first)..=self.folio(last.min(CELLS - 1))
    }

    pub fn is_present(&self, cell: usize) -> bool {
        self.present & 1 << self.folio(cell) != 0
    }

    pub fn is_dirty(&self, cell: usize) -> bool {
        self.dirty & 1 << (cell / PAGE) != 0
    }

    pub fn dirty_folios(&self) -> impl Iterator<Item = usize> {
        let (dirty, pages) = (self.dirty, self.folio_cells() / PAGE);
        (0..CELLS / PAGE / pages).filter(move |f| dirty >> (f * pages) & ((1 << pages) - 1) != 0)
    }

    /// What a read of the device finds; behind the end of the file there are zeroes, or nothing, which is the same here.
    pub fn on_device(&self, cell: usize) -> Tag {
        match cell < self.size.into() {
            true => self.device[cell],
            false => self.zero[cell],
        }
    }

    /// What a read of the cache finds.
    pub fn in_cache(&self, cell: usize) -> Tag {
        match cell < self.size.into() {
            true => self.cache[cell],
            false => self.zero[cell],
        }
    }

    fn fill(&mut self, folio: usize) {
        if self.present & 1 << folio == 0 {
            self.present |= 1 << folio;
            for cell in self.cells(folio) {
                self.cache[cell] = self.on_device(cell);
            }
        }
    }

    /// The pages of a folio, as bits.
    fn pages(&self, folio: usize) -> u8 {
        let pages = self.folio_cells() / PAGE;
        ((1 << pages) - 1) << (folio * pages)
    }

    fn dirty(&mut self, cell: usize, by_store: bool) {
        let folio = self.folio(cell);
        self.fill(folio);
        self.dirty |= match self.kind.by_page && !by_store {
            true => 1 << (cell / PAGE),
            false => self.pages(folio),
        };
    }

    pub fn write_back(&mut self, folio: usize) {
        for cell in self.cells(folio) {
            if self.is_dirty(cell) && cell < self.size.into() {
                self.device[cell] = self.cache[cell];
            }
        }
        self.dirty &= !self.pages(folio);
    }

    pub fn flush(&mut self, first: usize, last: usize) {
        self.folios(first, last).for_each(|f| self.write_back(f));
    }

    /// Drop the pages of a range; false: not all could be dropped.
    pub fn drop_pages(&mut self, first: usize, last: usize) -> bool {
        let mut all = true;
        for f in self.folios(first, last) {
            if self.dirty & self.pages(f) != 0 || self.refs[f] != 0 {
                all = false;
            } else {
                self.present &= !(1 << f);
            }
        }
        all
    }

    /// `POSIX_FADV_DONTNEED`: no folio of which only a part is meant.
    pub fn advise(&mut self, first: usize, last: usize) {
        for f in self.folios(first, last) {
            let cells = self.cells(f);
            if first <= cells.start && cells.end - 1 <= last {
                self.drop_pages(cells.start, cells.start);
            }
        }
    }

    /// A read through the cache, first half: the page is there, and referred to; so may be the next (readahead).
    pub fn get(&mut self, cell: usize, thread: usize) {
        self.fill(self.folio(cell));
        self.refs[self.folio(cell)] |= 1 << thread;
        let next = self.cells(self.folio(cell)).end;
        if next < self.size.into() && !self.changing {
            self.fill(self.folio(next));
        }
    }

    /// The second half. None: the page was taken away by a layout call; begin again.
    pub fn copy(&mut self, cell: usize, thread: usize) -> Option<Tag> {
        let refs = &mut self.refs[cell / self.folio_cells()];
        let had = *refs & 1 << thread != 0;
        *refs &= !(1 << thread);
        had.then(|| self.in_cache(cell))
    }

    pub fn write(&mut self, first: usize, last: usize, tag: Tag) {
        let size = usize::from(self.size);
        if first > size && !size.is_multiple_of(PAGE) {
            self.zero_tail();
        }
        for cell in first..=last {
            self.dirty(cell, false);
            self.cache[cell] = tag;
        }
        self.size = self.size.max(last as u8 + 1);
    }

    /// What lies behind the end in the last page is zeroed, through the cache, before the file grows.
    fn zero_tail(&mut self) {
        let size = usize::from(self.size);
        self.dirty(size, false);
        (size..size.next_multiple_of(PAGE)).for_each(|c| self.cache[c] = self.zero[c]);
    }

    /// A store through a mapping.
    pub fn store(&mut self, cell: usize, tag: Tag) {
        self.dirty(cell, true);
        self.cache[cell] = tag;
    }

    /// A buffer in a mapping is pinned for a direct read, and counts as dirty.
    pub fn pin(&mut self, cell: usize, thread: usize) {
        self.dirty(cell, true);
        self.refs[self.folio(cell)] |= 1 << thread;
    }

    /// The direct read is done; in vain if a layout call has taken the page away.
    pub fn unpin(&mut self, cell: usize, thread: usize, tag: Tag) {
        let folio = self.folio(cell);
        if self.refs[folio] & 1 << thread != 0 {
            self.refs[folio] &= !(1 << thread);
            self.store(cell, tag);
        }
    }

    /// Truncate, first step: the partial page is zeroed through the cache, the size changes, pages go, whoever refers
    /// to them.
    pub fn truncate(&mut self, to: usize, tag: Tag) {
        let size = usize::from(self.size);
        (to..CELLS).for_each(|c| self.zero[c] = tag);
        if to > size {
            (size..to).for_each(|c| self.device[c] = self.zero[c]);
            if !size.is_multiple_of(PAGE) {
                self.zero_tail();
            }
        } else if !to.is_multiple_of(PAGE) {
            self.dirty(to, false);
        }
        self.size = to as u8;
        self.take_away(to, CELLS - 1, tag);
        self.changing = true;
    }

    /// Punch, first step.
    pub fn punch(&mut self, first: usize, last: usize, tag: Tag) {
        for cell in first..=last {
            self.zero[cell] = tag;
            if !is_whole(cell, first, last) && cell < self.size.into() {
                self.dirty(cell, false);
            }
        }
        self.take_away(first, last, tag);
        self.changing = true;
    }

    fn take_away(&mut self, first: usize, last: usize, tag: Tag) {
        (first..=last).for_each(|c| self.cache[c] = tag);
        for f in 0..CELLS / self.folio_cells() {
            let cells = self.cells(f);
            if first <= cells.start && cells.end - 1 <= last {
                self.present &= !(1 << f);
                self.dirty &= !self.pages(f);
                self.refs[f] = 0;
            }
        }
    }

    /// Both, second step: the blocks go.
    pub fn free(&mut self, first: usize, last: usize, tag: Tag) {
        for cell in first..=last {
            // Of a page that stays, only what lies behind the end, where nothing is written back.
            if is_whole(cell, first, last) || cell >= self.size.into() {
                self.device[cell] = tag;
            }
        }
        self.changing = false;
    }
}

/// Whether the whole page of a cell lies in a range.
fn is_whole(cell: usize, first: usize, last: usize) -> bool {
    let page = cell / PAGE * PAGE;
    first <= page && page + PAGE - 1 <= last
}
