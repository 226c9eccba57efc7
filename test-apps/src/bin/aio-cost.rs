//! What a request of Linux AIO costs, from its submission to its completion: nanoseconds a request, and how often
//! threads went to sleep for it; one JSON object.
//!
//! Plain and alone: one process, one thread, nobody else on the file. What a library loaded beside it adds
//! is the difference of two runs.

use clap::{Parser, ValueEnum};
use pagefence_test_apps::Res;
use pagefence_test_apps::aio::{Context, Event, Request};
use pagefence_test_apps::sys::{Buffer, Fd, PAGE, now};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures what Linux AIO costs on a file in DIR, and prints it as one JSON object.
///
/// Requests are direct, of 4 KiB, each at another place, far from the last, in a file of 64 MiB. ns is the median over batches of about 10 ms.
/// switches counts how often the program's own thread went to sleep, per 1,000 requests; wakes how often any other
/// thread of the process did, per second.
#[derive(Parser)]
#[command(name = "aio-cost")]
struct Args {
    /// Directory to work in: a file is made there, and removed at the end
    dir: PathBuf,
    /// Use another part of the file through the page cache before, and keep it open meanwhile
    #[arg(long)]
    mixed: bool,
    /// Only this figure (may be repeated)
    #[arg(long, value_name = "NAME")]
    only: Vec<Figure>,
    /// How long to measure each figure, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60)]
    time: u64,
    /// Make exactly this many requests of each figure instead, in one batch
    #[arg(long, value_name = "N", conflicts_with = "time")]
    calls: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// One read in flight
    #[value(name = "aio-read-1")]
    Read1,
    /// 32 in flight, what is complete submitted anew by one call
    #[value(name = "aio-read-32")]
    Read32,
    /// The same, each submitted by a call of its own
    #[value(name = "aio-read-32-each")]
    Read32Each,
    /// As aio-read-32, and completions are taken off the ring, with a call only where there are none
    #[value(name = "aio-ring-32")]
    Ring32,
    /// As aio-read-32, writes over what is there
    #[value(name = "aio-write-32")]
    Write32,
    /// Nothing: a context is there, and nobody waits
    #[value(name = "aio-idle")]
    Idle,
}

impl Figure {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |v| v.get_name().to_owned())
    }

    fn depth(self) -> usize {
        match self {
            Figure::Read1 => 1,
            _ => 32,
        }
    }
}

const SIZE: u64 = 64 << 20;
/// What the page cache has of it in mixed use, at its end: further away than anything is rounded.
const CACHED: u64 = 4 << 20;
const BATCH_NS: u64 = 10_000_000;

struct Bench {
    context: Context,
    direct: Fd,
    memory: Buffer,
    at: u64,
    /// In mixed use, open as long as this is.
    _buffered: Option<Fd>,
}

impl Bench {
    fn new(path: &Path, mixed: bool) -> Res<Bench> {
        let flags = libc::O_RDWR | libc::O_CREAT;
        let direct = Fd::open(path, flags | libc::O_DIRECT)?;
        let mut large = Buffer::new(4 << 20)?;
        large.bytes().fill(0xa5);
        for at in (0..SIZE).step_by(large.bytes().len()) {
            direct.pwrite(large.bytes(), at)?;
        }
        let buffered = mixed.then(|| Fd::open(path, flags)).transpose()?;
        if let Some(buffered) = &buffered {
            buffered.pwrite(large.bytes(), SIZE - CACHED)?;
            buffered.fsync()?;
        }
        Ok(Bench {
            context: Context::new(64)?,
            direct,
            memory: Buffer::new(32 * PAGE)?,
            at: 0,
            _buffered: buffered,
        })
    }

    /// The next place, outside of what is cached. All come by in turn, so none is in flight twice.
    fn place(&mut self) -> u64 {
        const STEP: u64 = 4099 * PAGE;
        self.at = (self.at + STEP) % (SIZE - 2 * CACHED);
        self.at
    }

    fn requests(&mut self, figure: Figure) -> Vec<Request> {
        let places: Vec<u64> = (0..figure.depth()).map(|_| self.place()).collect();
        let parts = self.memory.bytes().chunks_exact_mut(PAGE as usize);
        let file = &self.direct;
        let made = parts.zip(places).map(|(part, at)| match figure {
            Figure::Write32 => Request::write(file, part, at),
            _ => Request::read(file, part, at),
        });
        made.collect()
    }

    /// Nanoseconds for that many requests.
    fn batch(&mut self, figure: Figure, calls: u64) -> Res<u64> {
        let begun = now();
        if figure == Figure::Idle {
            std::thread::sleep(std::time::Duration::from_millis(calls.min(1000)));
            return Ok(now() - begun);
        }
        let mut requests = self.requests(figure);
        let mut list: Vec<*mut Request> = requests.iter_mut().map(|r| &raw mut *r).collect();
        list.truncate(calls as usize);
        let (mut submitted, mut done) = (0, 0);
        let mut events = [Event::default(); 32];
        while done < calls {
            self.submit(figure, &list)?;
            submitted += list.len() as u64;
            let count = self.take(figure, &mut events)?;
            done += count as u64;
            list.clear();
            for event in &events[..count] {
                if event.result != PAGE as i64 {
                    return Err(format!("a request gave {}", event.result));
                }
                if submitted + (list.len() as u64) < calls {
                    // SAFETY: one of `requests`, which the kernel is done with.
                    unsafe { (*event.request()).move_to(self.place()) };
                    list.push(event.request());
                }
            }
        }
        Ok(now() - begun)
    }

    fn submit(&self, figure: Figure, list: &[*mut Request]) -> Res<()> {
        match figure {
            Figure::Read32Each => list.chunks(1).try_for_each(|one| self.context.submit(one)),
            _ => self.context.submit(list),
        }
    }

    fn take(&self, figure: Figure, events: &mut [Event]) -> Res<usize> {
        if figure == Figure::Ring32 {
            let count = self.context.look(events);
            if count != 0 {
                return Ok(count);
            }
        }
        self.context.wait(events)
    }

    fn measure(&mut self, figure: Figure, args: &Args) -> Res<String> {
        let Some(calls) = args.calls else {
            return self.measure_for(figure, args.time * 1_000_000);
        };
        let ns = self.batch(figure, calls)? as f64 / calls.max(1) as f64;
        Ok(format!("\"ns\":{ns:.1},\"calls\":{calls}"))
    }

    /// The median over batches, in nanoseconds a request.
    fn measure_for(&mut self, figure: Figure, time_ns: u64) -> Res<String> {
        let mut calls = if figure == Figure::Idle { 50 } else { 32 };
        let mut spent = self.batch(figure, calls)?;
        while spent < BATCH_NS / 2 {
            calls *= 2;
            spent = self.batch(figure, calls)?;
        }
        let (begun, before) = (now(), Sleeps::so_far());
        let mut costs = Vec::new();
        while costs.is_empty() || now() - begun < time_ns {
            costs.push(self.batch(figure, calls)? as f64 / calls as f64);
        }
        let (seconds, after) = ((now() - begun) as f64 / 1e9, Sleeps::so_far());
        let requests = (calls * costs.len() as u64) as f64;
        costs.sort_by(f64::total_cmp);
        let median = costs.get(costs.len() / 2).copied().unwrap_or(f64::NAN);
        let wakes = (after.by_others - before.by_others) as f64 / seconds;
        let own = (after.own - before.own) as f64;
        Ok(match figure {
            Figure::Idle => format!("\"ns\":null,\"wakes\":{wakes:.1}"),
            _ => format!(
                "\"ns\":{median:.1},\"switches\":{:.2},\"wakes\":{wakes:.1}",
                own * 1000.0 / requests
            ),
        })
    }
}

/// How often threads of this process went to sleep by themselves.
struct Sleeps {
    own: i64,
    by_others: i64,
}

impl Sleeps {
    fn so_far() -> Sleeps {
        let of = |who| {
            // SAFETY: an all-zero record is a value, and the kernel fills it.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(who, &mut usage);
                usage.ru_nvcsw
            }
        };
        let own = of(libc::RUSAGE_THREAD);
        Sleeps {
            own,
            by_others: of(libc::RUSAGE_SELF) - own,
        }
    }
}

/// A file that goes away.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // The measurement is done, or has failed already: there is nobody left to tell.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn measure_all(args: &Args) -> Res<String> {
    let name = format!("aio-cost-{}", std::process::id());
    let file = Scratch(args.dir.join(name));
    let mut bench = Bench::new(&file.0, args.mixed)?;
    let mut parts = Vec::new();
    for figure in Figure::value_variants() {
        if args.only.is_empty() || args.only.contains(figure) {
            let cost = bench.measure(*figure, args)?;
            parts.push(format!("{{\"name\":\"{}\",{cost}}}", figure.name()));
        }
    }
    let (mixed, figures) = (args.mixed, parts.join(","));
    Ok(format!("{{\"mixed\":{mixed},\"figures\":[{figures}]}}"))
}

fn main() -> ExitCode {
    match measure_all(&Args::parse()) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("aio-cost: {message}");
            ExitCode::from(2)
        }
    }
}
