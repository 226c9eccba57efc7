//! The folder: which rings are there, and what they have told since the last look.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trace::{ENDING, Kind, Lost, Reader, Wrong};

use crate::event::Event;
use crate::merge;

/// A ring that is still being made is none for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// A ring that can't be read, or not to its end.
#[derive(Debug)]
pub struct Problem {
    pub ring: PathBuf,
    pub why: Wrong,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.ring.display(), self.why)
    }
}

/// A ring that can be read.
pub struct OneRing {
    clock: merge::Clock,
    path: PathBuf,
}

impl OneRing {
    /// When CLOCK_MONOTONIC was zero, by CLOCK_REALTIME in nanoseconds: the same for all of one boot.
    pub fn began(&self) -> u64 {
        self.clock.began
    }

    pub fn process(&self) -> u32 {
        self.clock.process
    }

    pub fn program(&self) -> &[u8] {
        &self.clock.program
    }
}

enum Ring {
    Read(Box<Reader>),
    /// To its end, for the last time: it keeps no number. There may be more rings than a process may have numbers.
    Over(Lost),
    /// Not yet, since then.
    Unread(Instant),
    /// It has been said why.
    Wrong,
}

/// A trace that is read on and on.
pub struct Folder {
    path: PathBuf,
    rings: BTreeMap<PathBuf, Ring>,
    problems: Vec<Problem>,
}

impl Folder {
    /// Err: there is no such folder.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let mut folder = Folder {
            path: path.to_owned(),
            rings: BTreeMap::new(),
            problems: Vec::new(),
        };
        folder.find()?;
        Ok(folder)
    }

    /// Rings that have come since the last time.
    fn find(&mut self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_ring = path
                .as_os_str()
                .as_encoded_bytes()
                .ends_with(ENDING.as_bytes());
            if is_ring && !self.rings.contains_key(&path) {
                self.rings.insert(path, Ring::Unread(Instant::now()));
            }
        }
        Ok(())
    }

    /// What has been told since the last time, by all, in order. `last`: nobody asks again.
    pub fn read(&mut self, last: bool) -> Vec<Event> {
        // It may be gone meanwhile: what is open is read all the same.
        let _ = self.find();
        let mut told = Vec::new();
        for (path, ring) in &mut self.rings {
            let result = match ring {
                Ring::Wrong | Ring::Over(_) => continue,
                Ring::Read(reader) => reader.read(last),
                Ring::Unread(since) => match Reader::open(path) {
                    Ok(mut reader) => {
                        let result = reader.read(last);
                        *ring = Ring::Read(Box::new(reader));
                        result
                    }
                    Err(_) if !last && since.elapsed() < PATIENCE => continue,
                    Err(why) => Err(why),
                },
            };
            match (result, &*ring) {
                (Ok(all), Ring::Read(reader)) => {
                    told.push((merge::Clock::of(reader), all));
                    let lost = reader.lost();
                    if last {
                        *ring = Ring::Over(lost);
                    }
                }
                (Ok(_), _) => {}
                (Err(why), _) => {
                    *ring = Ring::Wrong;
                    let ring = path.clone();
                    self.problems.push(Problem { ring, why });
                }
            }
        }
        let mut all = merge::in_order(told);
        all.retain(|event| event.told.record.kind != Kind::Contents);
        all
    }

    /// Which rings can be read, in the order in which they were made, to be read one by one: what many tell needs the room
    /// of one. Instead of [`read`](Folder::read).
    pub fn one_by_one(&mut self) -> Vec<OneRing> {
        let _ = self.find();
        let mut rings = Vec::new();
        for (path, ring) in &mut self.rings {
            match Reader::open(path) {
                // It is opened again when its turn comes: there may be more than a process may have open.
                Ok(reader) => rings.push((merge::Clock::of(&reader), path.clone())),
                Err(why) => {
                    *ring = Ring::Wrong;
                    let ring = path.clone();
                    self.problems.push(Problem { ring, why });
                }
            }
        }
        merge::by_boot(&mut rings);
        rings.sort_by_key(|(clock, _)| (clock.began, clock.made));
        let all = rings.into_iter();
        all.map(|(clock, path)| OneRing { clock, path }).collect()
    }

    /// What one of them tells, in its order.
    pub fn read_one(&mut self, one: &OneRing) -> Vec<Event> {
        let mut all = Vec::new();
        self.each_of(one, |event| all.push(event));
        all
    }

    /// The same, each by itself: the longest takes no room.
    pub fn each_of(&mut self, one: &OneRing, mut each: impl FnMut(Event)) {
        self.each_and_contents(one, |event| {
            if event.told.record.kind != Kind::Contents {
                each(event);
            }
        });
    }

    /// And what calls moved, where that is recorded: nothing that is told, but what is compared. What the ring misses.
    pub fn each_and_contents(&mut self, one: &OneRing, mut each: impl FnMut(Event)) -> Lost {
        // It has been said why.
        if let Some(Ring::Wrong) = self.rings.get(&one.path) {
            return Lost::default();
        }
        let read = Reader::open(&one.path).and_then(|mut reader| {
            reader.read_each(true, &mut |told| each(merge::event(&one.clock, told)))?;
            Ok(reader.lost())
        });
        let missing = read.as_ref().map_or(Lost::default(), |lost| *lost);
        let ring = match read {
            Ok(lost) => Ring::Over(lost),
            Err(why) => {
                let ring = one.path.clone();
                self.problems.push(Problem { ring, why });
                Ring::Wrong
            }
        };
        self.rings.insert(one.path.clone(), ring);
        missing
    }

    /// Some events of a ring that was read, by their numbers, once more.
    pub(crate) fn read_again(
        &self,
        one: &OneRing,
        numbers: (u64, u64),
        mut each: impl FnMut(Event),
    ) {
        // It was read before: what can't be read now is as good as overwritten.
        if let Ok(mut reader) = Reader::open(&one.path) {
            reader.read_again(numbers, &mut |told| {
                if told.record.kind != Kind::Contents {
                    each(merge::event(&one.clock, told));
                }
            });
        }
    }

    /// Rings that could not be read, since the last time.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// What those miss that were read.
    fn each_lost(&self) -> impl Iterator<Item = Lost> {
        self.rings.values().filter_map(|ring| match ring {
            Ring::Read(reader) => Some(reader.lost()),
            Ring::Over(lost) => Some(*lost),
            _ => None,
        })
    }

    /// How many rings were read.
    pub fn rings(&self) -> usize {
        self.each_lost().count()
    }

    /// What is missing, of all rings.
    pub fn lost(&self) -> Lost {
        let add = |all: Lost, lost: Lost| Lost {
            overwritten: all.overwritten.saturating_add(lost.overwritten),
            torn: all.torn.saturating_add(lost.torn),
            dropped: all.dropped.saturating_add(lost.dropped),
            cut_off: all.cut_off.saturating_add(lost.cut_off),
            texts: all.texts.saturating_add(lost.texts),
        };
        self.each_lost().fold(Lost::default(), add)
    }
}
