//! What the figures were taken on, and how busy it was.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::Command;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub virtual_machine: bool,
    pub memory_gib: u64,
    pub kernel: String,
    /// The version of Pagefence, as git says it; with "-dirty" if what it is built from was changed since.
    pub version: String,
    /// Processes that ran or wanted to, over the last minute.
    pub load_at_start: f64,
    /// How many processors were busy with other things than our runs, on average. The kernel's own threads
    /// are among them: they write to our loop devices.
    pub others_used_processors: Option<f64>,
    #[serde(skip)]
    begun: Used,
}

/// More than the kernel's threads take for our runs.
pub const DISTURBED: f64 = 0.3;

/// Clock ticks used since some time in the past.
#[derive(Debug, Default)]
struct Used {
    by_all: i64,
    /// By this process and what it started and waited for.
    by_us: i64,
    /// On all processors, idle or not.
    passed: i64,
}

impl Used {
    fn now() -> Used {
        let stat = read("/proc/stat");
        let all: Vec<i64> = numbers(stat.lines().next().unwrap_or_default());
        // user nice system idle iowait irq softirq steal; guests are in user already.
        let (times, idle) = (all.iter().take(8).sum::<i64>(), [3, 4]);
        let idle: i64 = idle.iter().filter_map(|at| all.get(*at)).sum();
        let own = read("/proc/self/stat");
        // Past the name in parentheses utime, stime, cutime and cstime are the 11th word after the state.
        let own = own.rsplit_once(") ").map_or("", |(_, rest)| rest);
        Used {
            by_all: times - idle,
            by_us: numbers(own).iter().skip(10).take(4).sum(),
            passed: times,
        }
    }
}

/// The words that are numbers; some are negative.
fn numbers(line: &str) -> Vec<i64> {
    let words = line.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

impl Machine {
    pub fn look() -> Machine {
        let cpuinfo = read("/proc/cpuinfo");
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("unknown".to_owned(), |(_, v)| v.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Machine {
            processor: value(&cpuinfo, "model name"),
            processors: std::thread::available_parallelism().map_or(1, |n| n.get()),
            virtual_machine: value(&cpuinfo, "flags").contains("hypervisor"),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            version: version(),
            load_at_start: load(),
            others_used_processors: None,
            begun: Used::now(),
        }
    }

    pub fn finish(&mut self) {
        let (begun, end) = (&self.begun, Used::now());
        let others = (end.by_all - begun.by_all) as f64 - (end.by_us - begun.by_us) as f64;
        let passed = (end.passed - begun.passed).max(1) as f64;
        self.others_used_processors = Some((others / passed).max(0.0) * self.processors as f64);
    }

    /// Once finished: whether the figures can be trusted.
    pub fn verdict(&self) -> String {
        let others = self.others_used_processors.unwrap_or(f64::NAN);
        let used = format!(
            "others, and the kernel's threads, used {others:.1} of {} processors meanwhile",
            self.processors
        );
        if others < DISTURBED {
            used
        } else {
            format!("{used}: THESE FIGURES ARE DISTURBED; look at low..high, and at --instructions")
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.virtual_machine {
            " (virtual machine)"
        } else {
            ""
        };
        write!(
            f,
            "{} processors {}{kind}, {} GiB, Linux {}, Pagefence {}, load {:.1}",
            self.processors,
            self.processor,
            self.memory_gib,
            self.kernel,
            self.version,
            self.load_at_start
        )
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn load() -> f64 {
    let text = read("/proc/loadavg");
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.unwrap_or(f64::NAN)
}

/// Documents aren't looked at: results are among them, and one that was just written changes nothing for the next.
fn version() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-C", root])
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(version) = git(&["describe", "--always"]) else {
        return env!("CARGO_PKG_VERSION").to_owned();
    };
    let code = ["--", ".", ":(exclude)docs", ":(exclude)*.md"];
    match git(&[&["status", "--porcelain", "-uno"], &code[..]].concat()) {
        Some(changed) if changed.is_empty() => version,
        _ => version + "-dirty",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this process did is counted as its own, and is part of all that was done.
    #[test]
    fn own_work_is_not_the_others() {
        let begun = Used::now();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(100);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let end = Used::now();
        assert!(end.by_us > begun.by_us);
        assert!(end.by_us - begun.by_us <= 60, "ticks are 10 ms");
        assert!(end.passed - begun.passed >= end.by_all - begun.by_all);
    }
}
