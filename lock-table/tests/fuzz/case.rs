//! A case: what befalls a table's bytes and what is done with the table meanwhile, decoded from any bytes. So the
//! property tests can make it smaller, a coverage-guided fuzzer can grow it, and a failure can be given again as one
//! line of hexadecimal.

use lock_table::{Claim, FileId, Mode};

/// Bytes that one step is decoded from.
pub const STEP: usize = 16;

#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A word of the header's part that is in use.
    Header(usize),
    /// The nth of the words that are not zero: what is in use.
    InUse(usize),
    Any(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Value {
    This(u64),
    /// The bits that differ.
    Flip(u64),
    Add(u64),
    /// What another word says: a foreign index, ticket or owner that looks right.
    From(usize),
}

/// Which of the handles that the table has given out, or any other index.
#[derive(Clone, Copy, Debug)]
pub enum Handle {
    Own(usize),
    Any(u32),
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Poke {
        at: Place,
        value: Value,
        wide: bool,
    },
    Noise {
        from: usize,
        words: usize,
        seed: u64,
    },
    /// The header as it was, and a new attachment.
    Mend,
    Attach,
    Inspect,
    TakeSlot(u32),
    TakeRequest,
    GiveSlot(Handle),
    Announce(Handle, Claim),
    HoldNow(Handle, Claim),
    /// With this many milliseconds, polls before giving up, and the other slots as one's own or not.
    Hold(Handle, Claim, u8, u8, bool),
    HoldAll(Claim, u8),
    Release(Handle),
    Blocker(Handle, Claim),
    MapRegister(Claim),
    MapForget(Handle),
    Mapped(Claim),
    UseRegister(FileId, u32),
    UseAdd(Handle, u32),
    UseLooks(Handle),
    UseForget(Handle),
    Unverified(Claim),
    Reap,
    Snapshot,
    Fork(Handle, Claim),
    Removed,
}

/// One step, and which of the attached tables it concerns.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub table: usize,
    pub step: Step,
}

#[derive(Clone, Debug)]
pub struct Case {
    /// The table's file ends here instead of where it should.
    pub length: Option<u64>,
    pub scribbler: u64,
    pub orders: Vec<Order>,
}

impl Case {
    pub fn decode(bytes: &[u8]) -> Case {
        let mut chunks = bytes.chunks(STEP).map(|chunk| {
            let mut whole = [0; STEP];
            whole[..chunk.len()].copy_from_slice(chunk);
            Fields(whole)
        });
        let head = chunks.next().unwrap_or(Fields([0; STEP]));
        let length = head
            .byte(0)
            .is_multiple_of(16)
            .then(|| match head.byte(1) % 4 {
                0 => head.small() % 4200,
                1 => head.small() % 64 * 4096,
                2 => head.wide() % (1 << 20),
                _ => 0,
            });
        Case {
            length: length.filter(|_| head.byte(0) != 0),
            scribbler: head.wide() | 1,
            orders: chunks.map(|f| f.order()).collect(),
        }
    }
}

/// The bytes of one step, as numbers.
#[derive(Clone, Copy)]
struct Fields([u8; STEP]);

impl Fields {
    fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn small(&self) -> u64 {
        u64::from(u32::from_le_bytes([
            self.0[4], self.0[5], self.0[6], self.0[7],
        ]))
    }

    fn wide(&self) -> u64 {
        u64::from_le_bytes(self.0[8..].try_into().unwrap_or_default())
    }

    fn order(&self) -> Order {
        Order {
            table: usize::from(self.byte(1) >> 6),
            step: self.step(),
        }
    }

    fn step(&self) -> Step {
        let (handle, claim) = (self.handle(), self.claim());
        match self.byte(0) % 48 {
            1..=8 => self.poke(),
            9 => Step::Noise {
                from: self.small() as usize,
                words: 1 << (self.byte(2) % 13),
                seed: self.wide() | 1,
            },
            10 | 11 => Step::Mend,
            12 | 13 => Step::Attach,
            14 => Step::Inspect,
            15..=17 => Step::TakeSlot(self.byte(2).into()),
            18 => Step::TakeRequest,
            19 => Step::GiveSlot(handle),
            20 => Step::Announce(handle, claim),
            21..=23 => Step::HoldNow(handle, claim),
            24..=26 => Step::Hold(
                handle,
                claim,
                self.patience(),
                self.byte(5) % 4,
                self.mine(),
            ),
            27 | 28 => Step::HoldAll(claim, self.byte(4) % 12),
            29 | 30 => Step::Release(handle),
            31 => Step::Blocker(handle, claim),
            32 | 33 => Step::MapRegister(claim),
            34 => Step::MapForget(handle),
            35 => Step::Mapped(claim),
            36 | 37 => Step::UseRegister(claim.file, self.byte(4).into()),
            38 => Step::UseAdd(handle, self.byte(4).into()),
            39 => Step::UseLooks(handle),
            40 => Step::UseForget(handle),
            41 => Step::Unverified(claim),
            42 | 43 => Step::Reap,
            44 => Step::Snapshot,
            45 => Step::Fork(handle, claim),
            46 => Step::Removed,
            _ => Step::Attach,
        }
    }

    /// Milliseconds. Long enough, now and then, for the search for deadlocks (10, with slots of one's own) and for the
    /// poll (50).
    fn patience(&self) -> u8 {
        match self.byte(5) >> 4 {
            0 => 70,
            _ if self.mine() => 12 + self.byte(4) % 16,
            _ => self.byte(4) % 12,
        }
    }

    fn mine(&self) -> bool {
        self.byte(5) & 8 != 0
    }

    fn poke(&self) -> Step {
        let n = self.small() as usize;
        let at = match self.byte(2) % 8 {
            0 | 1 => Place::Header(n),
            2..=5 => Place::InUse(n),
            _ => Place::Any(n),
        };
        let value = match self.byte(3) % 10 {
            0 => Value::This(self.wide()),
            1 => Value::This(self.wide() % 8),
            2 => Value::This(self.wide() % 256),
            3 => Value::This(u64::MAX.wrapping_sub(self.wide() % 4)),
            4 => Value::This(0),
            // Generations and tickets near their wrap, with any state.
            5 => Value::This(0xffff_fff0_ffff_fff0 | self.wide() & 0xf_0000_000f),
            6 => Value::Flip(1 << (self.wide() % 64)),
            7 => Value::Add(1),
            8 => Value::Add(u64::MAX),
            _ => Value::From(self.wide() as usize),
        };
        let wide = self.byte(1) & 1 != 0;
        Step::Poke { at, value, wide }
    }

    fn handle(&self) -> Handle {
        match self.byte(1) % 64 {
            n @ 0..58 => Handle::Own(n.into()),
            _ => Handle::Any(self.small() as u32 % 160),
        }
    }

    fn claim(&self) -> Claim {
        let mode = Mode::ALL[usize::from(self.byte(2)) % 5];
        let (scale, n) = (
            [1, 4096, 1 << 20, 1 << 40][usize::from(self.byte(3)) % 4],
            self.wide(),
        );
        let first = (n & 7) * scale;
        let last = match self.byte(2) >> 5 {
            0 => u64::MAX,
            1 => first,
            // Ends before it begins: no range, but nobody says so to the table.
            2 if self.byte(3) & 16 != 0 => first.wrapping_sub(1),
            _ => first.wrapping_add((n >> 8 & 3) * scale),
        };
        let file = match self.byte(3) >> 5 {
            0 => FileId { dev: n, ino: n },
            k => FileId {
                dev: 8,
                ino: u64::from(k & 1),
            },
        };
        Claim {
            file,
            first,
            last,
            mode,
            atomic: self.byte(2) & 16 != 0,
        }
    }
}
