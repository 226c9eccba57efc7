//! The test programs of LTP and xfstests, from checkouts that the user names: each says fenced what it says bare. What a
//! program is run with comes from LTP's own lists, and for xfstests from `xfstests.list`, in the same form.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pagefence_tests::fence::{self, Fence};
use pagefence_tests::places::{Place, places};
use pagefence_tests::run::run;
use summary::Counter;

use super::is_long;

/// A project's programs, built.
struct Suite {
    name: &'static str,
    dir: PathBuf,
    /// Where they are, in `dir`.
    programs: Vec<String>,
    /// A name, and a command of the shell.
    tests: Vec<(String, String)>,
    /// What must be the same, of an exit code and what was written.
    says: fn(i32, &str) -> String,
    least: usize,
}

/// io_uring is refused by default, which some of LTP's ask of every kind of descriptor.
const POLICY: &str = "[defaults]\nio_uring = \"allow\"\n";

/// In a process namespace of its own, with which all ends that it has started; and with a limit for which the library's
/// descriptors lie above it, as they mostly do: LTP counts numbers to the last.
const IN_A_NAMESPACE: &str = "ulimit -Sn 1024; exec unshare --pid --fork --mount --mount-proc --kill-child \
                              timeout -k 5 120 sh -c \"$0\"";

impl Suite {
    fn once(&self, place: &Place, test: &str, fence: Option<&Fence>) -> String {
        let dir = place.directory();
        let mut command = Command::new("bash");
        command
            .args(["-c", IN_A_NAMESPACE, test])
            .current_dir(dir.path());
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = self
            .programs
            .iter()
            .map(|p| self.dir.join(p).display().to_string());
        let all: Vec<_> = programs.chain([path]).collect();
        let kind = place
            .name
            .trim_end_matches("64k")
            .trim_end_matches("-nocow");
        command
            .env("PATH", all.join(":"))
            .env("LTPROOT", &self.dir)
            .env("TMPDIR", dir.path())
            .env("LTP_SINGLE_FS_TYPE", kind)
            // Some go on for half an hour otherwise, which is cut short here.
            .env("LTP_RUNTIME_MUL", "0.05")
            .env("LC_ALL", "C");
        fence::apply(fence, &mut command);
        command.env("PAGEFENCE_LOG", "off");
        let outcome = run(&mut command, Duration::from_secs(150)).expect("bash");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let said = said.replace(&dir.path().display().to_string(), "DIR");
        let is_there = outcome.code() != 127 && !said.contains(": not found");
        assert!(is_there, "{test}: {said}");
        (self.says)(outcome.code(), &said)
    }

    /// How it ends bare and fenced, if never alike in three times: chance differs from itself, too.
    fn difference(&self, place: &Place, test: &str, fence: &Fence) -> Option<String> {
        let (mut bare, mut fenced) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            bare.push(self.once(place, test, None));
            fenced.push(self.once(place, test, Some(fence)));
            if bare.iter().any(|said| fenced.contains(said)) {
                return None;
            }
        }
        Some(format!("bare {bare:?}, fenced {fenced:?}"))
    }

    fn check(&self, place: &Place) {
        let fence = Fence::with_policy(POLICY);
        let mut differ = Vec::new();
        for (name, test) in &self.tests {
            let before = fence.count(Counter::Processes);
            if let Some(difference) = self.difference(place, test, &fence) {
                eprintln!("{name} differs on {}: {difference}", place.name);
                differ.push(format!("{name} ({test}): {difference}"));
            }
            assert!(
                fence.count(Counter::Processes) > before,
                "{name}: nothing was fenced"
            );
        }
        let (name, all) = (self.name, self.tests.len());
        eprintln!(
            "{name} on {}: {all} tests, {} differ",
            place.name,
            differ.len()
        );
        assert!(all >= self.least, "{name}: only {all} tests were built");
        assert!(
            differ.is_empty(),
            "{name} on {}:\n{}",
            place.name,
            differ.join("\n")
        );
    }

    fn check_everywhere(&self) {
        let kinds = ["ext4", "xfs", "tmpfs"];
        let all = places();
        let tried = all
            .iter()
            .filter(|place| all.len() == 1 || kinds.contains(&place.name.as_str()));
        tried.for_each(|place| self.check(place));
    }
}

/// The checkout that a variable names, built in place.
fn built(variable: &str, what: &'static str, script: &str) -> Option<PathBuf> {
    if !is_long(what) {
        return None;
    }
    let Some(dir) = std::env::var_os(variable).map(PathBuf::from) else {
        eprintln!("left out: {what}; set {variable} to a checkout (see scripts/test --help)");
        return None;
    };
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(&dir);
    let outcome = run(&mut command, Duration::from_secs(3000)).expect("bash");
    assert_eq!(outcome.code(), 0, "{what}: {}", outcome.report());
    Some(dir)
}

/// The lines of a list.
fn tests_of(text: &str) -> Vec<(String, String)> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(char::is_whitespace));
    pairs
        .map(|(name, test)| (name.to_owned(), test.trim().to_owned()))
        .collect()
}

/// Of LTP the system calls that have to do with files, descriptors, memory and processes.
const CALLS: &str = "abort chroot clone clone3 close close_range copy_file_range creat dup dup2 dup3 eventfd eventfd2 execl \
    execle execlp execv execve execveat execvp exit exit_group fadvise fallocate fcntl fdatasync flock fork fsync ftruncate \
    getrlimit io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit landlock link llseek lseek madvise \
    memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync munlock munlockall munmap name_to_handle_at \
    open open_by_handle_at openat openat2 pidfd_getfd pipe pipe2 prctl pread preadv preadv2 ptrace pwrite pwritev pwritev2 \
    read readahead readv recvmsg remap_file_pages rename renameat2 sendfile sendmsg setresuid setrlimit setuid sigaltstack \
    socketpair splice statx sync sync_file_range syncfs tee truncate unlink unshare vfork vmsplice waitpid write writev";

const BUILD_LTP: &str = r#"
[ -x configure ] || make -s autotools; [ -e include/config.h ] || ./configure -q; make -s -j2 -C lib
# What this machine can't build is left out; too much, and there are too few tests.
for call in $calls; do make -s -k -j2 -C testcases/kernel/syscalls/$call || true; done >/dev/null
make -s -k -j2 -C testcases/kernel/io >/dev/null || true
"#;

/// Not these: they last minutes, make a million processes, or meddle with what all programs of the machine share.
const NOT: [&str; 5] = ["fork13", "fork14", "fcntl14", "fcntl14_64", "clone303"];

/// How many of what LTP's tests say.
fn words_of_ltp(code: i32, said: &str) -> String {
    let words = ["TPASS", "TFAIL", "TBROK", "TCONF", "TWARN"];
    let counts = words.map(|word| format!("{} {word}", said.matches(word).count()));
    format!("exit {code}, {}", counts.join(", "))
}

#[test]
fn ltp() {
    let script = format!("calls='{CALLS}'\n{BUILD_LTP}");
    let Some(dir) = built("PAGEFENCE_TEST_LTP", "LTP", &script) else {
        return;
    };
    let calls = CALLS
        .split_whitespace()
        .map(|call| format!("syscalls/{call}"));
    let io = ["aio", "direct_io", "ltp-aiodio", "writetest"].map(|name| format!("io/{name}"));
    let programs: Vec<_> = calls
        .chain(io)
        .map(|name| format!("testcases/kernel/{name}"))
        .collect();
    let lists = ["syscalls", "dio", "ltp-aiodio.part4"];
    let texts = lists.map(|list| {
        std::fs::read_to_string(dir.join("runtest").join(list)).expect("a list of LTP's")
    });
    let mut tests = tests_of(&texts.join("\n"));
    let is_built = |test: &str| {
        let program = test.split_whitespace().next().unwrap_or_default();
        programs.iter().any(|p| dir.join(p).join(program).is_file())
    };
    // Nor those that do the same a thousand times.
    let repeats = |test: &str| test.contains("-i 1000") || test.contains("-n 2000");
    tests.retain(|(name, test)| is_built(test) && !repeats(test) && !NOT.contains(&name.as_str()));
    let suite = Suite {
        name: "LTP",
        dir,
        programs,
        tests,
        says: words_of_ltp,
        least: 300,
    };
    suite.check_everywhere();
}

const BUILD_XFSTESTS: &str = r#"
[ -x configure ] || make -s configure; [ -e include/builddefs ] || ./configure -q
for part in include lib ltp src; do make -s -k -j2 -C $part || true; done >/dev/null
"#;

/// All that they say, but for numbers that are never the same: times, processes, addresses.
fn all_but_chance(code: i32, said: &str) -> String {
    let chance = |word: &str| {
        word.starts_with("0x") || (word.contains('.') && word.contains(char::is_numeric))
    };
    let words = said.split_whitespace().filter(|word| !chance(word));
    format!("exit {code}: {}", words.collect::<Vec<_>>().join(" "))
}

#[test]
fn xfstests() {
    let Some(dir) = built("PAGEFENCE_TEST_XFSTESTS", "xfstests", BUILD_XFSTESTS) else {
        return;
    };
    let programs: Vec<_> = ["src/aio-dio-regress", "src", "ltp"]
        .map(str::to_owned)
        .to_vec();
    let tests = tests_of(include_str!("../../xfstests.list"));
    let suite = Suite {
        name: "xfstests",
        dir,
        programs,
        tests,
        says: all_but_chance,
        least: 100,
    };
    suite.check_everywhere();
}
