//! The worker processes: forked, given rounds, watched, killed at random, and always waited for in bounds.

use crate::args::Args;
use crate::board::Board;
use crate::harness::{Stop, interrupted};
use crate::random::Random;
use crate::sys::{Res, failed};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Nobody may wait longer than this for anything here. A busy disk keeps a call for half a minute, and a killed
/// process until its I/O is drained.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// After this, who waits says where everybody is: a passing stall is not to pass unseen.
const STALL: Duration = Duration::from_secs(20);

/// How long somebody has waited for the team.
struct Wait {
    since: Instant,
    told: bool,
}

impl Wait {
    fn begin() -> Wait {
        Wait {
            since: Instant::now(),
            told: false,
        }
    }
}

pub type Job<'a> = dyn Fn(usize) -> Res<()> + 'a;

pub struct Team<'a> {
    board: &'a Board,
    job: &'a Job<'a>,
    pids: Vec<libc::pid_t>,
    kills: Option<Kills>,
    /// Who was killed in the middle of his part of this round.
    cut: Vec<bool>,
}

struct Kills {
    random: Random,
    next: Instant,
}

impl<'a> Team<'a> {
    pub fn start(
        board: &'a Board,
        args: &Args,
        workers: usize,
        job: &'a Job<'a>,
    ) -> Result<Team<'a>, Stop> {
        let kills = args.kills.then(|| Kills {
            random: Random::new(args.seed ^ 0xdead),
            next: Instant::now(),
        });
        let mut team = Team {
            board,
            job,
            pids: Vec::new(),
            kills,
            cut: vec![false; workers],
        };
        for worker in 0..workers {
            let pid = team.fork(worker)?;
            team.pids.push(pid);
        }
        Ok(team)
    }

    fn fork(&self, worker: usize) -> Res<libc::pid_t> {
        // SAFETY: this process has one thread, so the child may go on as a normal program.
        let parent = unsafe { libc::getpid() };
        // SAFETY: as above.
        match unsafe { libc::fork() } {
            -1 => failed("fork"),
            0 => {
                // SAFETY: plain calls; a worker must not outlive its supervisor, and sleeps of microseconds
                // must not be stretched to fifty.
                unsafe {
                    libc::prctl(libc::PR_SET_TIMERSLACK, 1);
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::signal(libc::SIGINT, libc::SIG_DFL);
                    libc::signal(libc::SIGTERM, libc::SIG_DFL);
                    if libc::getppid() != parent {
                        libc::_exit(0);
                    }
                }
                let code = match (self.job)(worker) {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("worker {worker}: {error}");
                        2
                    }
                };
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(code) }
            }
            pid => Ok(pid),
        }
    }

    pub fn pid(&self, worker: usize) -> libc::pid_t {
        self.pids[worker]
    }

    /// To be called often: notices workers that ended by themselves, and kills when it is time.
    pub fn tick(&mut self) -> Result<(), Stop> {
        if interrupted() {
            return Err(Stop::Interrupted);
        }
        for worker in 0..self.pids.len() {
            if let Some(status) = reap(self.pids[worker])? {
                self.pids[worker] = 0;
                return Err(Stop::Error(ended(worker, status)));
            }
        }
        if let Some(worker) = self.victim() {
            self.kill(worker)?;
        }
        Ok(())
    }

    fn victim(&mut self) -> Option<usize> {
        let workers = self.pids.len() as u64;
        let kills = self.kills.as_mut()?;
        if Instant::now() < kills.next {
            return None;
        }
        kills.next = Instant::now() + Duration::from_micros(kills.random.between(1_000, 30_000));
        Some(kills.random.between(0, workers - 1) as usize)
    }

    fn kill(&mut self, worker: usize) -> Result<(), Stop> {
        // SAFETY: the process is our child and has not been waited for, so the number is its own.
        unsafe { libc::kill(self.pids[worker], libc::SIGKILL) };
        wait_for_death(self.pids[worker])?;
        if self.board.cut(worker) {
            self.cut[worker] = true;
        }
        self.pids[worker] = 0;
        self.pids[worker] = self.fork(worker)?;
        Ok(())
    }

    /// One round: every worker below `parts` does its part. Says whose part was cut short by a kill.
    pub fn round(&mut self, parts: usize) -> Result<Vec<bool>, Stop> {
        self.cut.fill(false);
        let round = self.board.round.fetch_add(1, SeqCst) + 1;
        let mut wait = Wait::begin();
        while !(0..parts).all(|worker| self.board.finished(worker, round)) {
            self.tick()?;
            self.bear(&mut wait, || format!("round {round}"))?;
            std::thread::sleep(Duration::from_micros(30));
        }
        Ok(self.cut.clone())
    }

    /// Err when nobody may wait any longer; says once that it takes long.
    fn bear(&self, wait: &mut Wait, what: impl Fn() -> String) -> Result<(), Stop> {
        let waited = wait.since.elapsed();
        if waited > PATIENCE {
            return Err(Stop::Hang(self.standstill(&what(), waited)));
        }
        if waited > STALL && !wait.told {
            wait.told = true;
            eprintln!("stall: {}", self.standstill(&what(), waited));
        }
        Ok(())
    }

    fn standstill(&self, what: &str, waited: Duration) -> String {
        let state: Vec<String> = self.board.slots[..self.pids.len()]
            .iter()
            .map(|slot| format!("{}/{}", slot.finished.load(SeqCst), slot.begun.load(SeqCst)))
            .collect();
        let places: Vec<String> = self.pids.iter().map(|pid| whereabouts(*pid)).collect();
        format!(
            "{what}: no progress for {} s; finished/begun by worker: {}\n{}",
            waited.as_secs(),
            state.join(" "),
            places.join("\n")
        )
    }

    /// Runs until `until`, ticking; for workers that go on by themselves. `look` is called in between.
    pub fn run_until(
        &mut self,
        until: Instant,
        mut look: impl FnMut(&Team) -> Res<()>,
    ) -> Result<(), Stop> {
        let mut ops = (self.board.ops.load(SeqCst), Wait::begin());
        while Instant::now() < until {
            self.tick()?;
            look(self)?;
            let done = self.board.ops.load(SeqCst);
            if done != ops.0 {
                ops = (done, Wait::begin());
            }
            self.bear(&mut ops.1, || "operations".to_owned())?;
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// Tells the workers to stop and waits for them.
    pub fn finish(mut self) -> Result<(), Stop> {
        self.board.stop();
        let mut wait = Wait::begin();
        while self.pids.iter().any(|pid| *pid != 0) {
            for worker in 0..self.pids.len() {
                let Some(status) = reap(self.pids[worker])? else {
                    continue;
                };
                self.pids[worker] = 0;
                if status != 0 {
                    return Err(Stop::Error(ended(worker, status)));
                }
            }
            self.bear(&mut wait, || "the end".to_owned())?;
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

impl Drop for Team<'_> {
    /// Whatever happened: no worker is left behind.
    fn drop(&mut self) {
        for pid in self.pids.iter().filter(|pid| **pid != 0) {
            // SAFETY: our child, not waited for yet.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
            let _ = wait_for_death(*pid);
        }
    }
}

/// Where the kernel has this process (the stack is for root only).
fn whereabouts(pid: libc::pid_t) -> String {
    let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    format!(
        "  process {pid}: system call {}; kernel stack: {}",
        read("syscall").trim(),
        read("stack")
            .replace("[<0>] ", "")
            .trim()
            .replace('\n', " < ")
    )
}

fn ended(worker: usize, status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("worker {worker} died of signal {}", libc::WTERMSIG(status))
    } else {
        format!(
            "worker {worker} ended with code {}",
            libc::WEXITSTATUS(status)
        )
    }
}

fn reap(pid: libc::pid_t) -> Res<Option<i32>> {
    if pid == 0 {
        return Ok(None);
    }
    let mut status = 0;
    // SAFETY: `status` is ours.
    match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
        -1 => failed("waitpid"),
        0 => Ok(None),
        _ => Ok(Some(status)),
    }
}

fn wait_for_death(pid: libc::pid_t) -> Result<(), Stop> {
    let start = Instant::now();
    while reap(pid)?.is_none() {
        if start.elapsed() > PATIENCE {
            return Err(Stop::Hang(format!("process {pid} does not die of SIGKILL")));
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}
