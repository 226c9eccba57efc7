//! What is told, by whom and how often.

use crate::hold::call;
use crate::tell::events::{self, Event, Kind};
use crate::tell::kept::PLACES;
use crate::tell::told::{Once, first_of_left_out, first_time};
use crate::tell::{once, records, trace};
use crate::who::owned::Process;
use crate::who::process::active;
use crate::who::thread::Holds;
use crate::world::{A_WHILE, Buffer, Slow, World, at, bare, c_path, made_by};

fn lines(path: &std::path::Path) -> Vec<String> {
    let mut folder = report::Folder::open(path).unwrap();
    let events = folder.read(true);
    assert!(folder.take_problems().is_empty() && folder.lost() == ::trace::Lost::default());
    events.iter().map(|event| event.json()).collect()
}

#[test]
fn once_is_once_in_each_process() {
    let (a, b) = (Process::new(), Process::new());
    let first = |process: &'static Process, what| process.enter(|| first_time(what));
    assert!(first(a, Once::NoMemory) && !first(a, Once::NoMemory));
    assert!(first(a, Once::UnknownPath) && first(b, Once::NoMemory) && !first(b, Once::NoMemory));
    let left_out = |process: &'static Process, mark| process.enter(|| first_of_left_out(mark));
    assert!(left_out(a, 5) && !left_out(a, 5) && left_out(b, 5));
}

#[test]
fn each_process_has_its_trace() {
    let world = World::new();
    let (a, b) = (world.process(), world.process());
    let traces = ["a", "b"].map(|name| world.path(name));
    for (process, path) in [a, b].into_iter().zip(&traces) {
        process.enter(|| {
            records::init(Some("off"), Some(&c_path(path)), None);
        });
    }
    a.enter(|| events::emit(&Event::uncovered(None, "by one")));
    b.enter(|| events::emit(&Event::uncovered(None, "by the other")));
    a.enter(|| {
        once::no_memory();
        once::no_memory();
    });
    let [of_a, of_b] = traces.map(|path| lines(&path));
    assert_eq!((of_a.len(), of_b.len()), (2, 1), "{of_a:?} {of_b:?}");
    assert!(of_a[0].contains("by one") && of_b[0].contains("by the other"));
    assert!(of_a[1].contains("no memory"), "{of_a:?}");
}

/// The disk is full, or the folder is gone: what is told meanwhile is counted, in the ring that is made later.
#[test]
fn what_is_lost_is_counted() {
    let world = World::new();
    let a = world.process();
    let path = world.path("trace");
    let tell = || events::emit(&Event::uncovered(None, "something"));
    a.enter(|| {
        records::init(Some("off"), Some(&c_path(&path)), None);
        std::fs::remove_dir(&path).unwrap();
        (0..5).for_each(|_| tell());
        std::fs::create_dir(&path).unwrap();
        // It isn't tried at each record.
        tell();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        tell();
    });
    let mut folder = report::Folder::open(&path).unwrap();
    assert_eq!(folder.read(true).len(), 1);
    // And the event that says that they are lost.
    assert_eq!(folder.lost().dropped, 7);
}

/// Where the file is known and nobody shows it on standard error.
#[test]
fn a_record_takes_no_look_at_the_path() {
    let world = World::new();
    let a = world.process();
    let (path, file) = (world.path("trace"), world.file("file", 4096, 1));
    let fd = a.open(&file, libc::O_RDONLY);
    let id = Some(lock_table::FileId { dev: 1, ino: 2 });
    let event = |kind, fd| Event {
        fd,
        ..Event::about(kind, id)
    };
    a.enter(|| {
        records::init(Some("off"), Some(&c_path(&path)), None);
        assert!(!trace::write_at_once(&event(Kind::Wait, fd)), "no ring");
        events::emit(&event(Kind::Mixed, fd));
        // A number that leads nowhere.
        assert!(trace::write_at_once(&event(Kind::Wait, 9999)));
        assert!(!trace::write_at_once(&event(Kind::Mixed, fd)), "a new name");
    });
    let told = lines(&path);
    let named = format!("\"file\":\"{}\"", file.display());
    assert!(
        told.len() == 2 && told.iter().all(|l| l.contains(&named)),
        "{told:?}"
    );
}

/// A direct write that waits for a reader: that it waited is told when others may have its range again.
#[test]
fn what_happens_under_a_range_is_told_when_that_is_given_back() {
    let world = World::new();
    let file = world.file("file", 1 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (direct, buffered) = (
        a.open(&file, libc::O_RDWR | libc::O_DIRECT),
        b.open(&file, libc::O_RDONLY),
    );
    let path = world.path("trace");
    a.enter(|| {
        records::init(Some("off"), Some(&c_path(&path)), None);
    });
    let waits = || {
        lines(&path)
            .iter()
            .filter(|l| l.contains("\"wait\""))
            .count()
    };
    assert_eq!(Slow::begin(b, false, buffered, 0).end(), 1);
    let reader = Slow::begin(b, false, buffered, 0);
    let (inside, is_inside) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let writer = a.spawn(move || {
        let page = Buffer::of(4096, 2);
        let call = at(true, direct, page.all(), 0);
        made_by(&call, || {
            inside.send(()).unwrap();
            may_go.recv().unwrap();
            // A handler's, in this moment.
            events::emit(&Event::uncovered(None, "in the middle"));
            bare(&call)
        })
    });
    std::thread::sleep(A_WHILE);
    assert_eq!(reader.end(), 1);
    is_inside.recv().unwrap();
    assert_eq!(waits(), 0, "told while it holds its range");
    go.send(()).unwrap();
    assert_eq!((writer.join().unwrap(), waits()), (4096, 1));
    let told = lines(&path);
    let place = |what: &str| told.iter().position(|line| line.contains(what));
    assert!(place("\"wait\"") < place("in the middle"), "{told:?}");
}

/// What finds no room to be kept is told all the same.
#[test]
fn none_is_lost() {
    let world = World::new();
    let a = world.process();
    let path = world.path("trace");
    a.enter(|| {
        records::init(Some("off"), Some(&c_path(&path)), None);
        let thread = active().unwrap();
        let frame = call::begin(thread, false).unwrap();
        frame.holds.set(Holds::Alone);
        for n in 0..PLACES + 10 {
            events::emit(&Event::uncovered(None, &format!("no {n}")));
        }
        events::emit(&Event::uncovered(None, &"long ".repeat(100)));
        assert_eq!(lines(&path).len(), 11, "told at once");
        call::end(thread, frame);
    });
    let told = lines(&path);
    let at = |n: usize| {
        told.iter()
            .position(|line| line.contains(&format!("\"no {n}\"")))
            .unwrap()
    };
    assert_eq!(told.len(), PLACES + 11);
    assert!((1..PLACES).all(|n| at(n - 1) < at(n)), "in their order");
}
