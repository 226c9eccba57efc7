//! Where claims are made: files and stripes whose hints share buckets, and the edges of everything.

use super::common::buckets::{STRIPE, Search, stripes, whole};
use super::common::{FILE, Random};
use lock_table::{Claim, FileId, Mode, page, unit};

/// Where claims are made.
pub struct Places {
    files: Vec<FileId>,
    stripes: Vec<(FileId, u64)>,
}

impl Places {
    /// Files and stripes in the same few buckets, near each other and at the end of time.
    pub fn find() -> Places {
        const LAST: u64 = u64::MAX / STRIPE;
        let mode = Mode::Layout;
        let search = Search::new();
        let wanted = [
            whole(FILE, mode),
            stripes(FILE, 0, 1, mode),
            stripes(FILE, 5, 1, mode),
        ]
        .map(|c| search.bucket(&c));
        let mut files = vec![FILE, FileId { dev: 9, ..FILE }, FileId { ino: 43, ..FILE }];
        for bucket in wanted {
            let others = (1000..).map(|ino| whole(FileId { ino, ..FILE }, mode));
            files.push(search.first_in(bucket, others).file);
        }
        let mut places = Vec::new();
        for &file in &files {
            places.extend([0, 1, LAST - 1, LAST].map(|stripe| (file, stripe)));
            // A slot notes a stripe by its number modulo four.
            for (bucket, note) in wanted.iter().flat_map(|b| (0..4).map(move |n| (*b, n))) {
                let all = (8 + note..).step_by(4).map(|n| stripes(file, n, 1, mode));
                places.push((file, search.first_in(bucket, all).first / STRIPE));
            }
        }
        Places {
            files,
            stripes: places,
        }
    }

    pub fn claim(&self, random: &mut Random, wide_in: u64, modes: &[Mode]) -> Claim {
        let mode = *pick(random, modes);
        let atomic = random.below(4) == 0;
        let (file, first, last) = if random.below(wide_in) == 0 {
            self.wide_range(random)
        } else {
            self.narrow_range(random)
        };
        Claim {
            file,
            first,
            last,
            mode,
            atomic,
        }
    }

    fn wide_range(&self, random: &mut Random) -> (FileId, u64, u64) {
        let file = *pick(random, &self.files);
        let start = random.below(100) * page();
        match random.below(4) {
            0 => (file, 0, u64::MAX),
            1 => (file, random.below(64) * unit(), u64::MAX),
            2 => (file, start, start + 4 * STRIPE + random.below(10 * STRIPE)),
            _ => (file, u64::MAX - 5 * STRIPE, u64::MAX - random.below(3)),
        }
    }

    /// At the edges of pages, units and stripes; up to five stripes long, where wide claims begin.
    fn narrow_range(&self, random: &mut Random) -> (FileId, u64, u64) {
        let (file, stripe) = *pick(random, &self.stripes);
        let units = [0, 1, unit() - 1, unit(), unit() + page() - 1];
        let pages = [page() - 1, page(), STRIPE - page(), STRIPE - 1];
        let edge = *pick(random, &[&units[..], &pages].concat());
        let first = stripe * STRIPE + edge;
        let bytes = match random.below(6) {
            0 => 1,
            1 => page(),
            2 => 1 + random.below(2 * page()),
            3 => unit(),
            4 => 1 + random.below(3 * STRIPE),
            _ => 4 * STRIPE - edge + random.below(2), // to the end of the fourth stripe, or one beyond
        };
        (file, first, first.saturating_add(bytes - 1))
    }
}

pub fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}
