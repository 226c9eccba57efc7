//! `route = "direct"`: what programs that know no `O_DIRECT` read and write goes past the page cache. They see what they see
//! bare; the cache is left alone; what they read is what is on the device; and nothing is lost that is lost bare.

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, Fence, PAST};
use pagefence_tests::places::{Place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use summary::Counter;

use super::{LIMIT, all_lose_nothing};

/// What is said of files for which nothing can be done.
const SAID: &[&str] = &[
    "there is nothing beneath the page cache",
    "takes no O_DIRECT, or can't be opened once more", // no number is left
];

/// Where something lies beneath the page cache.
fn real_places() -> Vec<Place> {
    let mut all = places();
    all.retain(|place| place.name != "tmpfs");
    all
}

fn alike(name: &str, flags: &[&str]) {
    let program = compile(name, flags);
    for place in places() {
        let fences = [("past", Fence::with_policy(PAST))];
        let compared = Comparison::new(name).expect_said(SAID);
        let seen = compared.check(&place, &fences, |dir| program.on(dir));
        assert_eq!(seen.code(), 0, "{name} bare: {}", seen.report());
        let fence = &fences[0].1;
        let past = [Counter::DirectReadsDirect, Counter::DirectWritesDirect];
        let went = past.iter().any(|counter| fence.count(*counter) > 0);
        assert!(
            went || place.name == "tmpfs",
            "{name} on {}: nothing went past the cache",
            place.name
        );
    }
}

macro_rules! tests {
    ($($name:ident)*) => { $( #[test] fn $name() { alike(stringify!($name), &[]); } )* };
}

tests! {
    past append efault rwf shared_offset scm_rights vfork_exec by_number dup_modes setfl_direct
}

/// How many pages of the file the cache holds.
fn resident(path: &Path) -> usize {
    let file = File::open(path).expect("a file of ours");
    let len = file.metadata().expect("its length").len() as usize;
    let pages = len.div_ceil(4096);
    let mut seen = vec![0u8; pages];
    // SAFETY: a mapping of our own, which nobody touches, and a byte for each of its pages.
    unsafe {
        let (fd, flags) = (file.as_raw_fd(), libc::MAP_SHARED);
        let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, flags, fd, 0);
        assert!(at != libc::MAP_FAILED);
        assert_eq!(libc::mincore(at, len, seen.as_mut_ptr()), 0);
        libc::munmap(at, len);
    }
    seen.iter().filter(|page| **page & 1 != 0).count()
}

/// A file of these bytes, of which the page cache holds nothing.
fn cold(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).expect("a file of ours");
    file.write_all(bytes).expect("a file of ours");
    file.sync_all().expect("a file of ours");
    // SAFETY: a call with numbers.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(resident(path), 0, "{}", path.display());
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 4096) as u8).collect()
}

fn shell(line: &str, dir: &Path, fence: Option<&Fence>) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(dir);
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, LIMIT).expect("a shell");
    assert_eq!(outcome.code(), 0, "{line}: {}", outcome.report());
    outcome
}

/// Programs that people make backups with: bare they fill the page cache, and not when their files go past it.
#[test]
fn a_backup_leaves_the_cache_alone() {
    let all = bytes((8 << 20) + 777);
    let lines = [
        "cp --reflink=never src dst",
        "cat src | cat > dst",
        "dd if=src of=dst bs=10000 status=none",
        "tar cf a.tar src && tar xf a.tar --transform s/src/dst/",
        "python3 -c \"import shutil; shutil.copyfile('src', 'dst')\"", // sendfile
        "gzip -1 < src > a.gz && gzip -d < a.gz > dst",
    ];
    for place in real_places() {
        for line in lines {
            for fence in [None, Some(Fence::with_policy(PAST))] {
                let dir = place.directory();
                let [from, to] = ["src", "dst"].map(|name| dir.path().join(name));
                cold(&from, &all);
                shell(line, dir.path(), fence.as_ref());
                let left = [&from, &to].map(|path| resident(path));
                let what = format!("{line} on {}: {left:?} pages", place.name);
                // btrfs writes what has checksums through the cache by itself.
                let counts = if place.name == "btrfs" { 1 } else { 2 };
                let left = &left[..counts];
                match fence {
                    None => assert!(left.iter().all(|n| *n > 1000), "bare: {what}"),
                    // Each file's last block, which isn't whole.
                    Some(_) => assert!(left.iter().all(|n| *n <= 1), "{what}"),
                }
                assert!(
                    fs::read(&to).expect("a copy") == all,
                    "{what}: not the same bytes"
                );
            }
        }
    }
}

/// Where the file's first block lies on its filesystem's device.
fn first_block(file: &File) -> u64 {
    #[repr(C)]
    #[derive(Default)]
    struct Map {
        start: u64,
        length: u64,
        flags: u32,
        mapped: u32,
        count: u32,
        reserved: u32,
        logical: u64,
        physical: u64,
        extent: [u64; 5],
    }
    const FIEMAP: libc::c_ulong = 0xc020_660b;
    let mut map = Map {
        length: 4096,
        flags: 1,
        count: 1,
        ..Map::default()
    };
    // SAFETY: `struct fiemap` with room for one extent.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP, &raw mut map) };
    assert!(done == 0 && map.mapped == 1 && map.logical == 0);
    map.physical
}

/// The device that a filesystem lies on.
fn device_of(path: &Path) -> Option<String> {
    let dev = fs::metadata(path).ok()?.dev();
    let numbers = format!("{}:{}", libc::major(dev), libc::minor(dev));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&numbers))?;
    let (_, behind) = line.split_once(" - ")?;
    behind
        .split(' ')
        .nth(1)
        .filter(|d| d.starts_with("/dev/"))
        .map(str::to_owned)
}

/// The page cache says one thing and the device another: bare a reader is told what the page cache says.
#[test]
fn what_is_read_is_what_is_on_the_device() {
    let mut tried = 0;
    for place in places()
        .iter()
        .filter(|p| ["ext4", "xfs"].contains(&&*p.name))
    {
        let dir = place.directory();
        let path = dir.path().join("f");
        cold(&path, &[b'o'; 8192]);
        let old = fs::read(&path).expect("a file of ours");
        let Some(device) = device_of(&path) else {
            continue;
        };
        let at = first_block(&File::open(&path).expect("a file of ours"));
        let mut options = fs::OpenOptions::new();
        let device = options
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(device);
        // Past the page cache of the device, too: its memory must be aligned.
        let memory = vec![b'n'; 3 * 4096];
        let skip = memory.as_ptr().align_offset(4096);
        let device = device.expect("the filesystem's device");
        device
            .write_all_at(&memory[skip..skip + 4096], at)
            .expect("the filesystem's device");
        let seen = |fence| shell("cat f", dir.path(), fence).stdout;
        assert!(seen(None).as_bytes() == old, "{}: bare", place.name);
        let fenced = seen(Some(&Fence::with_policy(PAST)));
        assert!(
            fenced.starts_with("nnnn"),
            "{}: {}",
            place.name,
            &fenced[..8]
        );
        tried += 1;
    }
    let real = std::env::var("PAGEFENCE_TEST_FILESYSTEMS").is_ok();
    assert!(tried > 0 || !real, "no filesystem lies on a device");
}

/// Where bare ext4 and xfs lose data.
#[test]
fn what_races_bare_loses_nothing() {
    all_lose_nothing(PAST, &|fence, what| {
        assert_eq!(fence.count(Counter::LockTimeouts), 0, "{what}");
        assert_eq!(fence.count(Counter::Deadlocks), 0, "{what}");
    });
}

/// Who only looks on changes nothing.
#[test]
fn who_looks_on_takes_nothing_past() {
    let fence = Fence::with_policy(&format!("{PAST}mode = \"observe\"\n"));
    let place = &real_places()[0];
    let dir = place.directory();
    cold(&dir.path().join("src"), &bytes(1 << 20));
    shell("cat src | cat > dst", dir.path(), Some(&fence));
    assert!(resident(&dir.path().join("src")) > 200);
    assert_eq!(fence.count(Counter::DirectReadsDirect), 0);
}
