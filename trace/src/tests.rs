//! What is written is read; what is half written, spoiled or meant badly is told apart, and nothing is read beyond it.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::format::{RECORD_WORDS, WORD, Words, at, of, seal};
use crate::{Kind, Lost, Other, Reader, Record, Ring, Shape, Text, Told, Wrong};

const SMALL: Shape = Shape {
    files: 4,
    index: 16,
    text_words: 64,
    records: 8,
};

struct Place {
    dir: TempDir,
    ring: Ring,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let path = CString::new(dir.path().as_os_str().as_bytes()).unwrap();
        let ring = Ring::make(&path, (7, b"program"), SMALL, &crate::Alone).unwrap();
        Place { dir, ring }
    }

    fn path(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.dir.path()).unwrap();
        entries.next().unwrap().unwrap().path()
    }

    fn read(&self) -> (Vec<Told>, Lost) {
        let mut reader = Reader::open(&self.path()).unwrap();
        let told = reader.read(true).unwrap();
        (told, reader.lost())
    }

    /// Overwrites a word of the file.
    fn spoil(&self, word: usize, value: u64) {
        let file = fs::File::options().write(true).open(self.path()).unwrap();
        file.write_all_at(&value.to_le_bytes(), (word * WORD) as u64)
            .unwrap();
    }
}

fn record(ring: Ring, n: u64) -> Record {
    Record {
        time: n,
        process: 7,
        thread: 8,
        kind: Kind::Wait,
        file: Some((1, n)),
        path: ring.text(b"/a/path"),
        range: Some((0, u64::MAX)),
        mode: ring.text(b"direct_write"),
        other: Some(Other {
            process: 9,
            program: *b"other\0\0\0\0\0\0\0\0\0\0\0",
            mode: ring.text(b"mapped"),
        }),
        reason: ring.text(b"reason"),
        done: Text::NONE,
        hint: ring.text(b"hint"),
        nanoseconds: Some(n),
        call: None,
        contents: None,
    }
}

fn sealed(record: Record, number: u64) -> Words {
    let mut words = record.words();
    seal(&mut words, number);
    words
}

#[test]
fn what_is_written_is_read() {
    let place = Place::new();
    let ring = place.ring;
    let bare = Record {
        file: None,
        range: None,
        other: None,
        nanoseconds: None,
        call: None,
        contents: None,
        path: Text::NONE,
        ..record(ring, 3)
    };
    let written = [record(ring, 1), record(ring, 2), bare];
    written.iter().for_each(|record| ring.write(record));
    let (told, lost) = place.read();
    assert_eq!(told.iter().map(|t| t.record).collect::<Vec<_>>(), written);
    assert_eq!(lost, Lost::default());
    let one = &told[0];
    assert_eq!(
        [&one.path, &one.mode, &one.reason, &one.done, &one.hint].map(|text| &text[..]),
        [&b"/a/path"[..], b"direct_write", b"reason", b"", b"hint"]
    );
    let reader = Reader::open(&place.path()).unwrap();
    assert_eq!((reader.process, &reader.program[..]), (7, &b"program"[..]));
    assert_eq!(
        reader.realtime_of(reader.monotonic + 5),
        reader.realtime + 5
    );
}

#[test]
fn the_oldest_are_overwritten_and_counted() {
    let place = Place::new();
    let mut reader = Reader::open(&place.path()).unwrap();
    (0..3).for_each(|n| place.ring.write(&record(place.ring, n)));
    assert_eq!(reader.read(false).unwrap().len(), 3);
    (3..30).for_each(|n| place.ring.write(&record(place.ring, n)));
    let times = |told: Vec<Told>| told.iter().map(|t| t.record.time).collect::<Vec<_>>();
    let last: Vec<u64> = (22..30).collect();
    assert_eq!(times(reader.read(false).unwrap()), last);
    // Who has read some of them misses fewer.
    assert_eq!(reader.lost().overwritten, 19);
    let (told, lost) = place.read();
    assert_eq!((times(told), lost.overwritten), (last, 22));
}

#[test]
fn each_text_is_written_once_and_counted_when_there_is_no_room() {
    let place = Place::new();
    let ring = place.ring;
    let (a, b) = (ring.text(b"some text"), ring.text(b"some other"));
    assert!(a != b && a == ring.text(b"some text") && b == ring.text(b"some other"));
    assert_eq!((ring.text(b""), place.read().1.texts), (Text::NONE, 0));
    // Beyond the room for all texts, then beyond the places to find them by.
    assert_eq!(ring.text(&[b'x'; 1000]), Text::NONE);
    let made = (0..30).filter(|n| ring.text(format!("{n}").as_bytes()) != Text::NONE);
    assert_eq!(made.count(), 16 - 3);
    assert_eq!(place.read().1.texts, 1 + 17);
}

#[test]
fn a_long_text_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = CString::new(dir.path().as_os_str().as_bytes()).unwrap();
    let ring = Ring::make(&path, (7, b""), Shape::STANDARD, &crate::Alone).unwrap();
    let reason = ring.text(&[b'x'; 5000]);
    ring.write(&Record {
        reason,
        ..record(ring, 0)
    });
    let place = Place { dir, ring };
    assert_eq!(place.read().0[0].reason.len(), 4096);
}

#[test]
fn a_files_path_is_known_when_it_was_met() {
    let place = Place::new();
    let ring = place.ring;
    assert_eq!(ring.path_of((1, 2)), None);
    let (a, b) = (ring.text(b"/a"), ring.text(b"/b"));
    ring.is_called((1, 2), a);
    ring.is_called((1, 3), b);
    assert_eq!(ring.path_of((1, 2)), Some(a));
    ring.is_called((1, 2), b);
    assert_eq!(
        (ring.path_of((1, 2)), ring.path_of((2, 2))),
        (Some(b), None)
    );
    // Where there is no room it is looked for again and again.
    (0..10).for_each(|ino| ring.is_called((5, ino), a));
    let known = (0..10).filter(|ino| ring.path_of((5, *ino)).is_some());
    assert_eq!(known.count(), 2);
}

#[test]
fn what_is_not_finished_is_torn() {
    let place = Place::new();
    (0..4).for_each(|n| place.ring.write(&record(place.ring, n)));
    let first = SMALL.record(0).unwrap();
    // Killed before its number; written by two at once; of a kind that nobody knows.
    place.spoil(first + of::NUMBER, 0);
    place.spoil(first + RECORD_WORDS + of::TIME, 99);
    let mut words = sealed(record(place.ring, 2), 3);
    words[of::WHAT] |= 0xff;
    place.spoil(first + 2 * RECORD_WORDS + of::WHAT, words[of::WHAT]);
    let (told, lost) = place.read();
    assert_eq!((told.len(), lost.torn), (1, 3));
    // While its process may be at it, it is waited for.
    let mut reader = Reader::open(&place.path()).unwrap();
    assert_eq!(reader.read(false).unwrap().len(), 1);
    assert_eq!(reader.lost().torn, 0);
    let words = sealed(record(place.ring, 0), 1);
    place.spoil(first + of::NUMBER, words[of::NUMBER]);
    assert_eq!(reader.read(false).unwrap()[0].record.time, 0);
    assert_eq!(
        (reader.read(true).unwrap().len(), reader.lost().torn),
        (0, 2)
    );
}

#[test]
fn many_write_at_once() {
    let place = Place::new();
    let dir = tempfile::tempdir().unwrap();
    let path = CString::new(dir.path().as_os_str().as_bytes()).unwrap();
    let ring = Ring::make(&path, (7, b""), Shape::STANDARD, &crate::Alone).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                for n in 0..5000 {
                    let path = format!("/{}", n % 100);
                    let record = Record {
                        path: ring.text(path.as_bytes()),
                        file: Some((thread, n)),
                        ..record(ring, n)
                    };
                    ring.write(&record);
                    place.ring.write(&record);
                }
            });
        }
    });
    let ring = Place { dir, ring };
    let (told, lost) = ring.read();
    assert_eq!((told.len(), lost), (20_000, Lost::default()));
    let right = |told: &Told| {
        let (_, n) = told.record.file.unwrap();
        told.path[..] == *format!("/{}", n % 100).as_bytes()
    };
    assert!(told.iter().all(right));
    // In one lap of so few, two may have had one place: what is there is whole or known not to be.
    let (told, lost) = place.read();
    assert_eq!(told.len() as u64 + lost.torn, 8);
}

fn wrong(change: impl FnOnce(&Place)) -> Wrong {
    let place = Place::new();
    place.ring.write(&record(place.ring, 1));
    change(&place);
    Reader::open(&place.path()).expect_err("no ring any more")
}

#[test]
fn what_is_no_ring() {
    let cut = |to| {
        move |place: &Place| {
            let file = fs::File::options().write(true).open(place.path()).unwrap();
            file.set_len(to).unwrap();
        }
    };
    let random = |place: &Place| {
        let bytes: Vec<u8> = (0..100_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        fs::write(place.path(), bytes).unwrap();
    };
    assert!(matches!(wrong(cut(0)), Wrong::TooShort));
    assert!(matches!(wrong(cut(4095)), Wrong::TooShort));
    assert!(matches!(wrong(random), Wrong::NoRing));
    assert!(matches!(
        wrong(|p| p.spoil(at::VERSION, 9)),
        Wrong::Version(9)
    ));
    for at in [
        at::LENGTH,
        at::FILES,
        at::INDEX,
        at::TEXT_WORDS,
        at::RECORDS,
    ] {
        for value in [0, 1, u64::MAX, 1 << 40] {
            assert!(
                matches!(wrong(|p| p.spoil(at, value)), Wrong::Head),
                "{at} {value}"
            );
        }
    }
}

#[test]
fn a_ring_that_is_cut_short() {
    let place = Place::new();
    (0..8).for_each(|n| place.ring.write(&record(place.ring, n)));
    let file = fs::File::options().write(true).open(place.path()).unwrap();
    let end = SMALL.record(5).unwrap() * WORD;
    file.set_len(end as u64 + 3).unwrap();
    let (told, lost) = place.read();
    assert_eq!((told.len(), lost.cut_off, lost.torn), (5, 3, 0));
    // The texts are gone, too.
    file.set_len(4800).unwrap();
    let (told, lost) = place.read();
    assert_eq!((told.len(), lost.cut_off), (0, 8));
}

/// Indices and lengths that lead out of it, and numbers that would keep a loop busy.
#[test]
fn a_ring_that_means_harm() {
    let place = Place::new();
    (0..8).for_each(|n| place.ring.write(&record(place.ring, n)));
    let text = SMALL.text(0, 1).unwrap();
    for value in [u64::MAX, 1 << 32, 4097, 64 * 8, 56] {
        place.spoil(text, value); // the length of the first text
        place.read();
    }
    for value in [u64::MAX, u64::MAX - 7, 1 << 63, 9] {
        place.spoil(at::HEAD, value);
        let (told, lost) = place.read();
        assert!(told.len() + lost.torn as usize <= 8, "{value}");
    }
    place.spoil(at::HEAD, 8);
    for path in [u32::MAX, 63, 64, 65, 1 << 31] {
        let record = Record {
            path: Text(path),
            reason: Text(path),
            ..record(place.ring, 0)
        };
        let words = sealed(record, 1);
        let first = SMALL.record(0).unwrap();
        for (at, word) in words.iter().enumerate() {
            place.spoil(first + at, *word);
        }
        let (told, _) = place.read();
        assert_eq!((told.len(), told[0].path.len()), (8, 0), "{path}");
        // And as its own process reads it.
        place.spoil(at::TEXT_HEAD, u64::MAX);
        place.ring.text(b"new");
        for cell in 0..SMALL.index {
            place.spoil(SMALL.cell(cell).unwrap(), u64::from(path) | u64::MAX << 32);
        }
        place.ring.text(b"newer");
    }
}
