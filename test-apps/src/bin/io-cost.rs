//! What calls on a file cost: nanoseconds per call, one JSON object.
//!
//! Plain and alone: one process, one thread, nobody else on the files. What a library loaded beside it adds
//! is the difference of two runs.

use clap::{Parser, ValueEnum};
use pagefence_test_apps::Res;
use pagefence_test_apps::children::{fork_and_wait, spawn_and_wait};
use pagefence_test_apps::sys::{Buffer, Fd, Map, PAGE, failed, now};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures what calls on a file in DIR cost, and prints nanoseconds per call as one JSON object.
///
/// Each figure is the median over batches of calls of about 2 ms. A figure that can't be had on this
/// filesystem (no O_DIRECT) is null.
#[derive(Parser)]
#[command(name = "io-cost")]
struct Args {
    /// Directory to work in: a fresh subdirectory is made, and removed at the end
    dir: PathBuf,
    /// Use the buffered file directly too, before and during the measurement
    #[arg(long)]
    mixed: bool,
    /// Only this figure (may be repeated)
    #[arg(long, value_name = "NAME")]
    only: Vec<Figure>,
    /// How long to measure each figure, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60)]
    time: u64,
    /// Take a lock of the description (fcntl, F_OFD_SETLKW) around each read and write, as a program would that looks
    /// after itself
    #[arg(long)]
    locks: bool,
    /// Make exactly this many calls of each figure instead, in one batch
    #[arg(long, value_name = "N", conflicts_with = "time")]
    calls: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// 4 KiB from the page cache
    #[value(name = "pread-4k")]
    Pread4k,
    /// 64 KiB from the page cache
    #[value(name = "pread-64k")]
    Pread64k,
    /// One byte from the page cache
    #[value(name = "pread-1")]
    Pread1,
    /// 4 KiB into the page cache
    #[value(name = "pwrite-4k")]
    Pwrite4k,
    /// 64 KiB into the page cache
    #[value(name = "pwrite-64k")]
    Pwrite64k,
    /// 4 KiB into the page cache, and from there to the device
    #[value(name = "pwrite-sync-4k")]
    PwriteSync4k,
    /// 4 KiB from the page cache at the file offset
    #[value(name = "read-4k")]
    Read4k,
    /// 4 KiB to the device, over what is there
    #[value(name = "direct-write-4k")]
    DirectWrite4k,
    /// 4 KiB from the device
    #[value(name = "direct-read-4k")]
    DirectRead4k,
    /// 4 KiB to the device beside a page that is mapped, shared and writable; in mixed use only
    #[value(name = "direct-write-mapped-4k")]
    DirectWriteMapped4k,
    /// open and close of the buffered file
    OpenClose,
    /// open, a read of one byte at offset 0 and close of the buffered file
    OpenReadClose,
    /// mmap and munmap of a page, shared and writable, untouched
    MmapMunmap,
    /// fork of a child that exits at once, and waitpid
    ForkWait,
    /// posix_spawn of /bin/true, and waitpid
    SpawnTrue,
}

impl Figure {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |v| v.get_name().to_owned())
    }

    fn is_direct(self) -> bool {
        use Figure::{DirectRead4k, DirectWrite4k, DirectWriteMapped4k};
        matches!(self, DirectWrite4k | DirectRead4k | DirectWriteMapped4k)
    }
}

/// Both I/O modes work on a span of this size.
const SPAN: u64 = 4 << 20;
/// In mixed use one file has both spans, this far apart: further than anything is rounded.
const DIRECT_AT: u64 = 2 * SPAN;
const LARGE: u64 = 16 * PAGE;
const BATCH_NS: u64 = 2_000_000;

struct Bench {
    path: PathBuf,
    buffered: Fd,
    /// The file for direct calls and where its span begins; none if the filesystem has no O_DIRECT.
    direct: Option<(Fd, u64)>,
    memory: Buffer,
    at: u64,
    locks: bool,
}

impl Bench {
    fn new(dir: &Path, args: &Args) -> Res<Bench> {
        let (path, mixed) = (dir.join("buffered"), args.mixed);
        let mut memory = Buffer::new(LARGE)?;
        memory.bytes().fill(0xa5);
        let flags = libc::O_RDWR | libc::O_CREAT;
        let buffered = Fd::open(&path, flags)?;
        let mut bench = Bench {
            path,
            buffered,
            direct: None,
            memory,
            at: 0,
            locks: args.locks,
        };
        bench.fill_cache()?;
        // In one-mode use the direct calls get a file that is never used otherwise.
        let (name, start) = if mixed {
            ("buffered", DIRECT_AT)
        } else {
            ("direct", 0)
        };
        let opened = Fd::open(&dir.join(name), flags | libc::O_DIRECT);
        bench.direct = opened.ok().map(|file| (file, start));
        if bench.direct.is_none() && mixed {
            return Err("mixed use needs O_DIRECT, which isn't to be had here".into());
        }
        bench.fill_device()?;
        Ok(bench)
    }

    /// Clean and cached, blocks allocated: no figure pays for the first time.
    fn fill_cache(&mut self) -> Res<()> {
        for at in (0..SPAN).step_by(PAGE as usize) {
            self.buffered.pwrite(self.memory.part(PAGE), at)?;
        }
        self.buffered.fsync().map(drop)
    }

    fn fill_device(&mut self) -> Res<()> {
        let Some((file, start)) = &self.direct else {
            return Ok(());
        };
        let mut large = Buffer::new(SPAN / 4)?;
        large.bytes().fill(0x5a);
        for at in (0..SPAN).step_by(SPAN as usize / 4) {
            file.pwrite(large.bytes(), start + at)?;
        }
        file.pread(self.memory.part(PAGE), *start).map(drop)
    }

    /// The next page of the span, again and again.
    fn next(&mut self) -> u64 {
        let at = self.at;
        self.at = (at + PAGE) % SPAN;
        at
    }

    fn rewind(&self) -> Res<()> {
        // SAFETY: no memory is involved.
        if unsafe { libc::lseek(self.buffered.raw(), 0, libc::SEEK_SET) } < 0 {
            return failed("lseek");
        }
        Ok(())
    }

    /// And the next larger piece of it.
    fn large(at: u64) -> u64 {
        at * (LARGE / PAGE) % SPAN
    }

    fn call(&mut self, figure: Figure) -> Res<()> {
        let at = self.next();
        match figure {
            Figure::OpenClose => Fd::open(&self.path, libc::O_RDWR).map(drop),
            Figure::OpenReadClose => {
                let file = Fd::open(&self.path, libc::O_RDWR)?;
                file.pread(self.memory.part(1), 0).map(drop)
            }
            Figure::MmapMunmap => self.map_at(at).map(drop),
            Figure::ForkWait => fork_and_wait(),
            Figure::SpawnTrue => spawn_and_wait(),
            _ if !self.locks => self.transfer(figure, at),
            _ => {
                let writes = figure.name().contains("write");
                self.lock(if writes { libc::F_WRLCK } else { libc::F_RDLCK }, at)?;
                self.transfer(figure, at)?;
                self.lock(libc::F_UNLCK, at)
            }
        }
    }

    fn transfer(&mut self, figure: Figure, at: u64) -> Res<()> {
        let (file, memory) = (&self.buffered, &mut self.memory);
        match figure {
            Figure::Pread1 => file.pread_all(memory.part(1), at),
            Figure::Pread64k => file.pread_all(memory.bytes(), Self::large(at)),
            Figure::Pwrite4k => file.pwrite(memory.part(PAGE), at),
            Figure::Pwrite64k => file.pwrite(memory.bytes(), Self::large(at)),
            Figure::PwriteSync4k => {
                file.pwrite(memory.part(PAGE), at)?;
                sync_range(file, at)
            }
            Figure::Read4k => {
                // One lseek in a thousand reads.
                if at == 0 {
                    self.rewind()?;
                }
                read(&self.buffered, self.memory.part(PAGE))
            }
            _ if figure.is_direct() => self.direct_call(figure, at),
            _ => file.pread_all(memory.part(PAGE), at),
        }
    }

    fn direct_call(&mut self, figure: Figure, at: u64) -> Res<()> {
        let Some((file, start)) = &self.direct else {
            return Err("no O_DIRECT here".into());
        };
        match figure {
            Figure::DirectRead4k => file.pread_all(self.memory.part(PAGE), start + at),
            _ => file.pwrite(self.memory.part(PAGE), start + at),
        }
    }

    fn map_at(&self, at: u64) -> Res<Map> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        Map::file(&self.buffered, at, PAGE, protection, libc::MAP_SHARED)
    }

    /// What `figure` needs to be there meanwhile; None: it can't be had.
    fn beside(&self, figure: Figure, mixed: bool) -> Option<Res<Option<Map>>> {
        match figure {
            _ if figure.is_direct() && self.direct.is_none() => None,
            Figure::DirectWriteMapped4k if !mixed => None,
            Figure::DirectWriteMapped4k => Some(self.map_at(DIRECT_AT).map(Some)),
            _ => Some(Ok(None)),
        }
    }

    fn lock(&self, kind: i32, at: u64) -> Res<()> {
        let lock = libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: at as i64,
            l_len: PAGE as i64,
            l_pid: 0,
        };
        // SAFETY: the lock is ours.
        match unsafe { libc::fcntl(self.buffered.raw(), libc::F_OFD_SETLKW, &lock) } {
            0 => Ok(()),
            _ => failed("fcntl"),
        }
    }

    /// Nanoseconds for that many calls.
    fn batch(&mut self, figure: Figure, calls: u64) -> Res<u64> {
        self.at = 0;
        let begun = now();
        for _ in 0..calls {
            self.call(figure)?;
        }
        Ok(now() - begun)
    }

    /// The median over batches, in nanoseconds per call, and all calls made.
    fn measure(&mut self, figure: Figure, time_ns: u64) -> Res<(f64, u64)> {
        let mut calls = 1;
        let mut spent = self.batch(figure, calls)?;
        while spent < BATCH_NS / 2 {
            calls *= 2;
            spent = self.batch(figure, calls)?;
        }
        let (begun, mut costs) = (now(), Vec::new());
        while costs.is_empty() || now() - begun < time_ns {
            costs.push(self.batch(figure, calls)? as f64 / calls as f64);
        }
        costs.sort_by(f64::total_cmp);
        let median = costs.get(costs.len() / 2).copied().unwrap_or(f64::NAN);
        Ok((median, calls * costs.len() as u64))
    }
}

/// Waits until the page is written.
fn sync_range(file: &Fd, at: u64) -> Res<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: no memory is involved.
    match unsafe { libc::sync_file_range(file.raw(), at as i64, PAGE as i64, all) } {
        0 => Ok(()),
        _ => failed("sync_file_range"),
    }
}

fn read(file: &Fd, to: &mut [u8]) -> Res<()> {
    // SAFETY: the buffer is ours and as long as we say.
    match unsafe { libc::read(file.raw(), to.as_mut_ptr().cast(), to.len()) } {
        n if n as usize == to.len() => Ok(()),
        n if n < 0 => failed("read"),
        n => Err(format!("read of {} gave {n}", to.len())),
    }
}

/// A directory that goes away with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Res<Scratch> {
        let path = parent.join(format!("io-cost-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It failed already, or the measurement is done: there is nobody left to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn measure_all(args: &Args) -> Res<String> {
    let scratch = Scratch::new(&args.dir)?;
    let mut bench = Bench::new(&scratch.0, args)?;
    let mut parts = Vec::new();
    for figure in Figure::value_variants() {
        if !args.only.is_empty() && !args.only.contains(figure) {
            continue;
        }
        let cost = match bench.beside(*figure, args.mixed) {
            None => "\"ns\":null,\"calls\":0".to_owned(),
            Some(beside) => {
                let _beside = beside?;
                let (ns, calls) = match args.calls {
                    Some(calls) => (
                        bench.batch(*figure, calls)? as f64 / calls.max(1) as f64,
                        calls,
                    ),
                    None => bench.measure(*figure, args.time * 1_000_000)?,
                };
                format!("\"ns\":{ns:.1},\"calls\":{calls}")
            }
        };
        parts.push(format!("{{\"name\":\"{}\",{cost}}}", figure.name()));
    }
    let figures = parts.join(",");
    let mixed = args.mixed;
    Ok(format!("{{\"mixed\":{mixed},\"figures\":[{figures}]}}"))
}

fn main() -> ExitCode {
    match measure_all(&Args::parse()) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("io-cost: {message}");
            ExitCode::from(2)
        }
    }
}
