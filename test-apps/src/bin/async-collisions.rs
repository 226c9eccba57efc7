//! Lost updates as `mapped-store` and `next-page` look for them, where the direct write is several requests of Linux AIO:
//! a store into the last page that they write, or into the page behind, in one large folio with their end.
//!
//! Each round draws a way: how the requests end (`ends`), whether they overlap, and how the other process stores: through a
//! mapping, by a buffered write, by a punched hole. What is in flight when their program is killed may be there in part.

use pagefence_test_apps::aio::Request;
use pagefence_test_apps::args::Args;
use pagefence_test_apps::collision::{By, MIB, Plan, Write, look_for_lost_updates};
use pagefence_test_apps::ends::{ENDS, Requests};
use pagefence_test_apps::harness::run;
use pagefence_test_apps::random::Random;
use pagefence_test_apps::sys::{Fd, PAGE};
use pagefence_test_apps::{Res, Setup};
use std::cell::RefCell;

const ABOUT: &str = "Writes with O_DIRECT and Linux AIO while another process stores to the last page of that, or behind \
it, in one large folio with its end, and looks for lost updates, in the page cache and on the device";

const STORES: [(&str, By); 3] = [
    ("mapping", By::Mapping),
    ("write", By::Write),
    ("punch", By::Punch),
];
const OVERLAPPING: &str = "overlapping";

fn main() {
    let ends = ENDS.iter().map(|(name, _)| *name);
    let stores = STORES.iter().map(|(name, _)| *name);
    let ways = ends.chain(stores).chain([OVERLAPPING]).collect();
    run(Args::parse_with("async-collisions", ABOUT, ways), |setup| {
        let way = setup.args.way.clone();
        let draw = |random: &mut Random, unit| plan(random, unit, way.as_deref());
        look_for_lost_updates(setup, draw, by_requests(setup))
    });
}

fn plan(random: &mut Random, unit: u64, way: Option<&str>) -> Plan {
    let plan = match random.one_in(2) {
        true => Plan::last_page(random, unit),
        false => Plan::next_page(random, unit),
    };
    let named = way.and_then(|way| STORES.iter().find(|(name, _)| *name == way));
    let by = match (way, named) {
        (_, Some((_, by))) => *by,
        // What the bare kernel loses.
        (Some(_), None) => STORES[random.between(0, 1) as usize].1,
        (None, None) => STORES[random.between(0, 2) as usize].1,
    };
    // Later than that, the page is read behind the write that has been queued by then, and is new.
    let longest = 1 << random.between(3, 8);
    let delay_us = random.between(1, longest);
    Plan {
        by,
        delay_us,
        ..plan
    }
}

/// The writer's own draws: nobody else must know them. It keeps its contexts: to destroy one takes the kernel longer than
/// all else that a round does.
fn by_requests(setup: &Setup) -> impl Write {
    let random = RefCell::new(Random::new(setup.args.seed ^ 0xa10));
    let kept: [RefCell<Option<Requests>>; ENDS.len()] = Default::default();
    let way = setup.args.way.as_deref();
    move |file: &Fd, bytes: &[u8], at: u64| {
        let mut random = random.borrow_mut();
        let end = match way {
            Some(way) => ENDS.iter().position(|(name, _)| *name == way).unwrap_or(0),
            // The first is the fastest, and so it is drawn more often.
            None if random.one_in(2) => 0,
            None => random.between(1, ENDS.len() as u64 - 1) as usize,
        };
        let overlaps = way.map_or_else(|| random.one_in(4), |way| way == OVERLAPPING);
        let mut kept = kept[end].borrow_mut();
        let requests = match &mut *kept {
            Some(requests) => requests,
            none => none.insert(Requests::new(ENDS[end].1)?),
        };
        write(requests, file, bytes, at, overlaps)
    }
}

/// All of it, by requests of a megabyte, the last one first: the kernel drops its pages at once and sends it off with the
/// others, and until then the page can be loaded as it was.
fn write(requests: &mut Requests, file: &Fd, bytes: &[u8], at: u64, overlaps: bool) -> Res<()> {
    let more = if overlaps { 16 * PAGE as usize } else { 0 };
    let starts = (0..bytes.len()).step_by(MIB as usize);
    let request = |start: usize| {
        let end = bytes.len().min(start + MIB as usize + more);
        Request::write(file, &bytes[start..end], at + start as u64)
    };
    requests.all(&mut starts.rev().map(request).collect::<Vec<_>>())
}
