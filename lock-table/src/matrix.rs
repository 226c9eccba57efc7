//! What excludes what. The design's table stands here, once, and reads like the design's.

use crate::sizes::{page, unit};

/// How a call uses its range.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    BufferedRead,
    BufferedWrite,
    DirectRead,
    DirectWrite,
    Layout,
}

impl Mode {
    pub const ALL: [Mode; 5] = [
        Mode::BufferedRead,
        Mode::BufferedWrite,
        Mode::DirectRead,
        Mode::DirectWrite,
        Mode::Layout,
    ];

    /// The mode that a number in the table stands for, if any.
    pub fn from_u8(n: u8) -> Option<Mode> {
        Mode::ALL.get(usize::from(n)).copied()
    }

    /// Whether it goes past the page cache.
    #[inline]
    pub fn is_direct(self) -> bool {
        matches!(self, Mode::DirectRead | Mode::DirectWrite)
    }

    pub fn name(self) -> &'static str {
        match self {
            Mode::BufferedRead => "buffered read",
            Mode::BufferedWrite => "buffered write",
            Mode::DirectRead => "direct read",
            Mode::DirectWrite => "direct write",
            Mode::Layout => "layout",
        }
    }
}

/// A file, wherever its name points.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    pub dev: u64,
    pub ino: u64,
}

/// A range of a file and what is done with it. `last` is inclusive; `u64::MAX` is the end of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    pub file: FileId,
    pub first: u64,
    pub last: u64,
    pub mode: Mode,
    /// The call's whole range is to be read or written at once (`isolation = "atomic"`).
    pub atomic: bool,
}

/// When a pair of modes excludes each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Never,
    /// Byte by byte, if either asked to be atomic.
    Atomic,
    /// On overlapping pages.
    Page,
    /// On overlapping units.
    Unit,
}

#[rustfmt::skip]
const MATRIX: [[Rule; 5]; 5] = {
    use Rule::{Atomic as a, Never as o, Page as x, Unit as X};
    [
        //                   buffered  buffered  direct  direct
        //                   read      write     read    write   layout
        /* buffered read  */ [o,       a,        o,      x,      x],
        /* buffered write */ [a,       a,        X,      X,      x],
        /* direct read    */ [o,       X,        o,      x,      x],
        /* direct write   */ [x,       X,        x,      x,      x],
        /* layout         */ [x,       x,        x,      x,      x],
    ]
};

#[inline]
fn overlap(p: &Claim, q: &Claim, shift: u32) -> bool {
    // Shifted numbers compare without rounding up, so nothing overflows at the end of time.
    (p.first >> shift) <= (q.last >> shift) && (q.first >> shift) <= (p.last >> shift)
}

/// May the two not be in the file at the same time?
#[inline]
pub fn conflict(p: &Claim, q: &Claim) -> bool {
    conflict_by(p, q, page(), unit())
}

#[inline]
fn conflict_by(p: &Claim, q: &Claim, page: u64, unit: u64) -> bool {
    if p.file != q.file {
        return false;
    }
    let rule = MATRIX
        .get(p.mode as usize)
        .and_then(|row| row.get(q.mode as usize))
        .copied()
        .unwrap_or(Rule::Page);
    match rule {
        Rule::Never => false,
        Rule::Atomic => (p.atomic || q.atomic) && overlap(p, q, 0),
        Rule::Page => overlap(p, q, page.trailing_zeros()),
        Rule::Unit => overlap(p, q, unit.trailing_zeros()),
    }
}

/// Sorts the claims of one call into the order in which they must be taken, and makes one of those that touch and say
/// the same. Returns how many remain, at the front.
pub fn sort_and_merge(claims: &mut [Claim]) -> usize {
    claims.sort_unstable_by_key(|c| (c.file.dev, c.file.ino, c.mode as u8, c.atomic, c.first));
    let mut kept = 0usize;
    for i in 0..claims.len() {
        let Some(&next) = claims.get(i) else { break };
        let open = kept.checked_sub(1).and_then(|k| claims.get_mut(k));
        match open {
            Some(c)
                if (c.file, c.mode, c.atomic) == (next.file, next.mode, next.atomic)
                    && next.first <= c.last.saturating_add(1) =>
            {
                c.last = c.last.max(next.last);
            }
            _ => {
                if let Some(place) = claims.get_mut(kept) {
                    *place = next;
                }
                kept = kept.saturating_add(1);
            }
        }
    }
    if let Some(front) = claims.get_mut(..kept) {
        front.sort_unstable_by_key(|c| (c.file.dev, c.file.ino, c.first, c.last));
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const FILE: FileId = FileId { dev: 1, ino: 2 };

    pub(crate) fn claim(mode: Mode, first: u64, last: u64) -> Claim {
        Claim {
            file: FILE,
            first,
            last,
            mode,
            atomic: false,
        }
    }

    /// The design's table as text: the test reads it apart from the code above.
    const DESIGN: &str = "
        buffered read  | –  | a  | –  | x  | x
        buffered write | a  | a  | X  | X  | x
        direct read    | –  | X  | –  | x  | x
        direct write   | x  | X  | x  | x  | x
        layout         | x  | x  | x  | x  | x";

    #[test]
    fn the_matrix_is_the_design_s() {
        for (line, p) in DESIGN.trim().lines().zip(Mode::ALL) {
            let mut cells = line.split('|').map(str::trim);
            assert_eq!(cells.next(), Some(p.name()));
            for (cell, q) in cells.zip(Mode::ALL) {
                // Far apart: the same byte, the same page, the same unit, another unit.
                let against = |last: u64, atomic: bool| {
                    let c = Claim {
                        atomic,
                        ..claim(p, 0, 0)
                    };
                    let d = claim(q, last, last);
                    assert_eq!(
                        conflict(&c, &d),
                        conflict(&d, &c),
                        "{p:?} {q:?} is not symmetric"
                    );
                    conflict(&c, &d)
                };
                let got = (
                    against(0, true),
                    against(0, false),
                    against(1, true),
                    against(page() - 1, false),
                );
                let far = (
                    against(page(), true),
                    against(unit() - 1, false),
                    against(unit(), true),
                );
                let want = match cell {
                    "–" => ((false, false, false, false), (false, false, false)),
                    "a" => ((true, false, false, false), (false, false, false)),
                    "x" => ((true, true, true, true), (false, false, false)),
                    "X" => ((true, true, true, true), (true, true, false)),
                    other => panic!("{other}"),
                };
                assert_eq!((got, far), want, "{p:?} against {q:?}");
            }
        }
    }

    #[test]
    fn the_end_of_time_overlaps_without_overflow() {
        let all = claim(Mode::Layout, 0, u64::MAX);
        let tail = claim(Mode::DirectWrite, u64::MAX, u64::MAX);
        let head = claim(Mode::BufferedWrite, 0, 0);
        assert!(conflict(&all, &tail) && conflict(&all, &head) && !conflict(&tail, &head));
    }

    #[test]
    fn another_file_never_conflicts() {
        let mine = claim(Mode::Layout, 0, u64::MAX);
        assert!(!conflict(
            &mine,
            &Claim {
                file: FileId { dev: 2, ino: 2 },
                ..mine
            }
        ));
        assert!(!conflict(
            &mine,
            &Claim {
                file: FileId { dev: 1, ino: 3 },
                ..mine
            }
        ));
    }

    #[test]
    fn claims_are_sorted_and_merged() {
        let w = Mode::BufferedWrite;
        let mut c = [
            claim(w, 100, 199),
            claim(Mode::BufferedRead, 50, 60),
            claim(w, 0, 9),
            claim(w, 200, u64::MAX),
            claim(w, 5, 20),
            Claim {
                file: FileId { dev: 0, ino: 9 },
                ..claim(w, 7, 8)
            },
        ];
        let k = sort_and_merge(&mut c);
        let got: Vec<_> = c[..k]
            .iter()
            .map(|c| (c.file.dev, c.mode, c.first, c.last))
            .collect();
        assert_eq!(
            got,
            [
                (0, w, 7, 8),
                (1, w, 0, 20),
                (1, Mode::BufferedRead, 50, 60),
                (1, w, 100, u64::MAX)
            ]
        );
        assert_eq!(sort_and_merge(&mut []), 0);
    }

    /// A kernel with pages of 64 KiB: two of its blocks lie in one page, and far more in one folio.
    #[test]
    fn larger_pages() {
        let (page, unit) = (64 << 10, 512 << 20);
        let at = |mode, first: u64| Claim {
            file: FileId { dev: 1, ino: 2 },
            first,
            last: first + 4095,
            mode,
            atomic: false,
        };
        let buffered = at(Mode::BufferedWrite, 0);
        for (first, excluded) in [(unit - 4096, true), (unit, false)] {
            let direct = at(Mode::DirectWrite, first);
            assert_eq!(
                conflict_by(&buffered, &direct, page, unit),
                excluded,
                "{first}"
            );
        }
        let direct = at(Mode::DirectWrite, 0);
        for (first, excluded) in [(page - 4096, true), (page, false)] {
            let read = at(Mode::DirectRead, first);
            assert_eq!(conflict_by(&direct, &read, page, unit), excluded, "{first}");
        }
    }
}
