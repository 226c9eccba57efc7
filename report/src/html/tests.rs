//! What a page's data are.

use std::sync::Arc;

use trace::{Kind, Other, Record, Text, Told};

use super::map::{Drawn, Map};
use super::seen::{PROGRAMS, Sight};
use super::{data, html};
use crate::account::Account;
use crate::{Event, Names, Sums};

fn event(time: u64, range: Option<(u64, u64)>, path: &str) -> Event {
    let empty: Arc<[u8]> = Arc::default();
    Event {
        time,
        program: b"writer"[..].into(),
        told: Told {
            number: 1,
            record: Record {
                time,
                process: 5,
                thread: 5,
                kind: Kind::Collision,
                file: Some((1, 2)),
                path: Text::NONE,
                range,
                mode: Text::NONE,
                other: Some(Other {
                    process: 9,
                    program: *b"reader\0\0\0\0\0\0\0\0\0\0",
                    mode: Text::NONE,
                }),
                reason: Text::NONE,
                done: Text::NONE,
                hint: Text::NONE,
                nanoseconds: None,
                call: None,
                contents: None,
            },
            path: path.as_bytes().into(),
            mode: b"direct_read"[..].into(),
            other_mode: empty.clone(),
            reason: empty.clone(),
            done: empty.clone(),
            hint: empty,
        },
    }
}

fn map(events: &[Event], most: usize) -> Map {
    let mut sight = Sight::default();
    events.iter().for_each(|event| sight.add(event));
    let mut drawn = Drawn::of(&sight, most);
    events
        .iter()
        .for_each(|event| drawn.add(event, (0, Some(1))));
    drawn.finish()
}

fn account(events: &[Event]) -> Account {
    let mut sums = Sums::new(Names::default());
    events.iter().for_each(|event| sums.add(event));
    sums.account(1, &trace::Lost::default())
}

fn count(map: &Map) -> u64 {
    map.rows.iter().map(|row| row[7]).sum()
}

#[test]
fn what_fits_is_exact() {
    let events: Vec<_> = (0..50)
        .map(|n| event(1000 + n * 7, Some((n * 512, n * 512 + 511)), "/f"))
        .collect();
    let map = map(&events, 50);
    assert_eq!((map.rows.len(), map.left_out), (50, 0));
    assert_eq!((map.place_shift, map.time_shift), (0, 0));
    assert!(
        map.rows
            .contains(&[25_088, 25_599, 343, 3, Kind::Collision as u64, 0, 2, 1])
    );
}

#[test]
fn what_does_not_fit_is_coarser_and_complete() {
    let events: Vec<_> = (0..100_000u64)
        .map(|n| {
            event(
                n * 1_000,
                Some((n * 40_503 % (1 << 30), n * 40_503 % (1 << 30) + 4095)),
                "/f",
            )
        })
        .collect();
    let map = map(&events, 2_000);
    assert!(
        map.rows.len() <= 2_000 && map.rows.len() > 500,
        "{}",
        map.rows.len()
    );
    assert_eq!((count(&map), map.left_out), (100_000, 0));
    let inside = |row: &[u64; 8]| row[1] < map.places && row[2] < map.times && row[0] <= row[1];
    assert!(map.rows.iter().all(inside));
}

#[test]
fn no_range_means_harm() {
    for range in [
        None,
        Some((0, u64::MAX)),
        Some((u64::MAX, u64::MAX)),
        Some((9, 3)),
        Some((u64::MAX, 0)),
    ] {
        let events = [event(5, range, "/f"), event(u64::MAX, range, "/f")];
        for most in [1, 10] {
            let map = map(&events, most);
            assert_eq!(count(&map) + map.left_out, 2, "{range:?}");
        }
    }
    assert_eq!(map(&[], 10).rows.len(), 0);
}

#[test]
fn nothing_told_is_markup() {
    let name = "/</script><script>alert(1)</script><!--<b>&";
    let events = [event(5, Some((0, 9)), name)];
    let account = account(&events);
    let mut page = Vec::new();
    let mut read = |each: &mut dyn FnMut(&Event)| events.iter().for_each(each);
    html(&account, &Names::default(), &mut read, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<!--<b>"));
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    let open = page.matches("<script").count();
    assert_eq!(open, page.matches("</script>").count());
    let from = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
    let told = &page[from..from + page[from..].find("</script>").unwrap()];
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["files"][0]["path"], name);
    assert!(page.contains("default-src 'none'"), "nothing may be loaded");
}

#[test]
fn programs_beyond_those_that_fit_are_one() {
    let events: Vec<Event> = (0..60u32)
        .map(|n| {
            let mut event = event(n.into(), Some((0, 9)), "/f");
            event.program = format!("p{n}").into_bytes().into();
            event.told.record.process = 100 + n;
            event
        })
        .collect();
    let account = account(&events);
    let mut read = |each: &mut dyn FnMut(&Event)| events.iter().for_each(each);
    let data = data(&account, &Names::default(), &mut read);
    assert_eq!(data.programs.len(), PROGRAMS + 1);
    assert_eq!(data.programs[PROGRAMS], "21 more programs");
}
