//! Programs that people use, run bare and under `enforce`: the same exit codes, the same output, the
//! same files.

use pagefence_tests::artefacts;
use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{self, Fence, found, split_own_lines};
use pagefence_tests::places::{Place, main_place, places};
use pagefence_tests::programs::compile;
use pagefence_tests::run::{Outcome, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

fn fenced() -> Vec<(&'static str, Fence)> {
    vec![("fenced", Fence::new())]
}

fn bash(script: &'static str) -> impl Fn(&Path) -> Command {
    move |_| {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }
}

fn must_succeed(comparison: &Comparison, place: &Place, script: &'static str) {
    let bare = comparison.check(place, &fenced(), bash(script));
    assert_eq!(bare.code(), 0, "bare on {}: {}", place.name, bare.report());
}

// ---- shells ------------------------------------------------------------------------------------

const SHELL: &str = r#"
set -eu
seq 1 2000 | sort -rn | head -500 | sort -n >sorted
{ echo first; (echo second; exit 3) || echo "subshell said $?"; echo third; } >group 2>&1
for i in 1 2 3 4; do { for j in $(seq 50); do echo "$i $j" >>appended; done; } & done; wait
sort -n -k1,1 -k2,2 appended -o appended
cat <<END >here
here $((6 * 7))
$(wc -l <sorted) lines
END
tr a-z A-Z <<<"a here-string" >>here
exec 3<>both; echo written >&3; exec 3>&-; exec 4<both; read -r line <&4; echo "got $line"; exec 4<&-
exec 5>>log; echo one >&5; (echo two >&5); echo three >&5; exec 5>&-
diff <(sort -r sorted | sort -n) sorted && echo same
set -o noclobber; (echo x >log) 2>/dev/null || echo "noclobber held"; echo y >|clobbered
(echo to stdout; echo to stderr >&2) >out 2>err; cat err out >merged
mkfifo pipe; (cat pipe >from-pipe) & echo through the pipe >pipe; wait
coproc cat; echo to the coprocess >&"${COPROC[1]}"; read -r reply <&"${COPROC[0]}"; echo "$reply"
kill "$COPROC_PID"; wait "$COPROC_PID" || true
trap 'echo trapped >>trap' USR1; kill -USR1 $$; trap - USR1
printf '%s\n' sorted group here | xargs -n1 -P2 wc -c | sort
find . -type f -name 'o*' -exec sh -c 'echo "$1: $(cat "$1")"' sh {} \; | sort
mapfile -t lines <sorted; echo "${#lines[@]} lines, the last is ${lines[-1]}"
truncate -s 10000 sparse; printf tail >>sparse; od -An -c sparse | tail -2
sleep 0.1 & wait $!; echo "background: $?"
timeout 5 sh -c 'kill -TERM $$' || echo "terminated: $?"
awk 'BEGIN { while (("cat sorted" | getline line) > 0) n++; print n }'
sed -i s/first/1st/ group; cat group
exit 7
"#;

#[test]
fn shell_scripts() {
    let seen = Comparison::new("a shell script").check(&main_place(), &fenced(), bash(SHELL));
    assert_eq!(seen.code(), 7, "{}", seen.report());
}

const STARTERS: &str = r#"
set -eu
perl -e 'my $n = `echo from perl`; print $n; system("echo system"); open(P, "|cat"); print P "piped\n"; close P;
    defined(my $p = fork) or die; if (!$p) { exec "echo", "child" } waitpid $p, 0; print "exit $?\n"'
cat >starters.py <<'END'
import os, subprocess, sys, multiprocessing
print(subprocess.run(["sh", "-c", "echo run; exit 4"], stdout=subprocess.PIPE))
print(subprocess.check_output("echo shell", shell=True), os.system("exit 3"), os.popen("echo popen").read())
with open("p", "wb") as f: subprocess.run(["seq", "1000"], stdout=f, close_fds=True)
print(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 6"], os.environ), 0)[1]))
print(len(open("p").read().split()))
with multiprocessing.get_context("fork").Pool(4) as pool: print(sum(pool.map(abs, range(-50, 50))))
print(subprocess.run(["/usr/bin/python3", "-c", "import multiprocessing as m; q = m.get_context('spawn').Queue(); q.put(5); print(q.get())"]))
sys.stdout.flush()
os.execvpe("sh", ["sh", "-c", "echo $A"], {"A": "executed", "PATH": os.environ["PATH"]})
END
/usr/bin/python3 starters.py
printf 'all: a b\na b:\n\techo $@ >$@\n' >Makefile; make -s -j2; cat a b
"#;

#[test]
fn programs_that_start_programs() {
    must_succeed(&Comparison::new("starters"), &main_place(), STARTERS);
}

// ---- Python's own tests ------------------------------------------------------------------------

/// Debian's Python, not one that somebody put before it in PATH: its tests are a package.
const PYTHON: &str = "/usr/bin/python3";

/// The tests that a module ran, each with whether it passed; from the report in JUnit's format.
fn results(
    module: &str,
    place: &Place,
    fence: Option<&Fence>,
) -> Result<Vec<(String, &'static str)>, String> {
    let dir = place.directory();
    let mut command = Command::new(PYTHON);
    command.args([
        "-m",
        "test",
        "--junit-xml",
        "results.xml",
        "--tempdir",
        ".",
        module,
    ]);
    command.current_dir(dir.path()).env("LC_ALL", "C.UTF-8");
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, Duration::from_secs(240)).map_err(|e| e.to_string())?;
    let xml = std::fs::read_to_string(dir.path().join("results.xml"));
    let xml = xml.map_err(|e| format!("results.xml: {e}: {}", outcome.report()))?;
    if outcome.hang.is_some() {
        return Err(outcome.report());
    }
    let (_, own) = split_own_lines(&outcome.stderr);
    if let Some(line) = own.iter().find(|line| !expected(module, line)) {
        return Err(format!("the library says: {line}"));
    }
    let mut list: Vec<_> = xml.split("<testcase ").skip(1).map(case).collect();
    list.sort();
    if list.iter().any(|(_, how)| *how == "failed") {
        eprintln!(
            "{module}, {}: {}",
            fence.map_or("bare", |_| "fenced"),
            outcome.report()
        );
    }
    Ok(list)
}

/// What the library has to say of these tests.
fn expected(module: &str, line: &str) -> bool {
    match module {
        // Children that run as another user, who may not use the table.
        "test_subprocess" => line.contains("permission denied"),
        // A child that gets an environment of its own, without the library.
        "test_os" => line.contains("LD_PRELOAD is not in its environment"),
        _ => false,
    }
}

fn case(xml: &str) -> (String, &'static str) {
    let name = xml
        .split("name=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let failed = xml.contains("<failure") || xml.contains("<error");
    let how = if failed {
        "failed"
    } else if xml.contains("<skipped") {
        "skipped"
    } else {
        "passed"
    };
    (name.unwrap_or("?").to_owned(), how)
}

/// Not once more when something differs: what fails now and then fails because of something.
fn python_module(module: &str) {
    let (place, fence) = (main_place(), Fence::new());
    // At the same time: these tests mostly sleep.
    let (bare, fenced) = std::thread::scope(|scope| {
        let bare = scope.spawn(|| results(module, &place, None));
        let fenced = scope.spawn(|| results(module, &place, Some(&fence)));
        (
            bare.join().expect("no panic"),
            fenced.join().expect("no panic"),
        )
    });
    let bare =
        bare.unwrap_or_else(|e| panic!("{module}, bare (is libpython3.11-testsuite there?): {e}"));
    let fenced = fenced.unwrap_or_else(|e| panic!("{module}, fenced: {e}"));
    assert!(fence.count(Counter::Processes) > 0, "it wasn't fenced");
    assert!(bare.len() > 20, "{module}: only {} tests ran", bare.len());
    let changed: Vec<_> = fenced.iter().filter(|case| !bare.contains(case)).collect();
    assert!(changed.is_empty(), "{module}: not as bare: {changed:?}");
    assert_eq!(bare.len(), fenced.len(), "{module}: other tests ran");
}

macro_rules! python {
    ($($name:ident)*) => { $( #[test] fn $name() { python_module(stringify!($name)); } )* };
}

python! { test_io test_mmap test_os test_subprocess }

// ---- files -------------------------------------------------------------------------------------

const GIT: &str = r#"
set -eu
export GIT_CONFIG_NOSYSTEM=1 HOME=$PWD GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
git() { /usr/bin/git "$@"; }
git config --global user.name T; git config --global user.email t@example.org
git config --global pack.threads 1; git config --global init.defaultBranch main; git config --global gc.auto 0
git init -q r; cd r
for i in $(seq 15); do seq $i $((i * 300)) >file-$((i % 4)); git add -A; git commit -q -m "change $i"; done
git tag v1; git checkout -q -b other HEAD~3; echo more >more; git add more; git commit -q -m other
git merge -q -m merge main; git gc -q --prune=now; git fsck --strict --no-progress; git count-objects -v | grep -v size
git clone -q . ../clone; git clone -q --bare --no-local . ../bare.git; git -C ../clone status --short
git log --oneline | cat; git -C ../clone rev-parse HEAD; git -C ../bare.git fsck --strict --no-progress
git mv more less; git commit -q -m moved; git rev-parse HEAD; git diff --stat HEAD~1; git stash list; git -C ../clone pull -q
"#;

#[test]
fn git() {
    let comparison = Comparison::new("git").ignore(&["index", "FETCH_HEAD"]);
    must_succeed(&comparison, &main_place(), GIT);
}

const TAR: &str = r#"
set -eu
mkdir -p tree/a/b; seq 1 50000 >tree/numbers; head -c 300000 /dev/zero >tree/a/zeros; ln -s numbers tree/link
ln tree/numbers tree/a/b/hard; truncate -s 5M tree/sparse; printf x >>tree/sparse; chmod 600 tree/a/zeros
tar --sort=name --mtime=@0 -cf plain.tar tree; tar --sort=name --mtime=@0 -czf zipped.tar.gz tree
tar --sort=name --mtime=@0 -cSf holes.tar tree; tar --sort=name --mtime=@0 -cf - tree | (mkdir piped; tar -xf - -C piped)
for a in plain.tar zipped.tar.gz holes.tar; do mkdir out-$a; tar -xf $a -C out-$a; diff -r tree out-$a/tree && echo same; done
diff -r tree piped/tree && echo piped
tar -tf plain.tar; seq 5 >tree/new; tar --mtime=@0 -rf plain.tar tree/new; tar -tf plain.tar | tail -1
"#;

#[test]
fn tar() {
    // A compressed archive names no time, but holds one in its header.
    must_succeed(
        &Comparison::new("tar").ignore(&["zipped.tar.gz"]),
        &main_place(),
        TAR,
    );
}

const CP: &str = r#"
set -eu
seq 1 300000 >a; truncate -s 3M holes; printf middle | dd of=holes bs=1 seek=1500000 conv=notrunc status=none
cp a plain; cp --reflink=auto a cloned; cp --reflink=never a copied; cp --sparse=always holes sparse; cp --sparse=never holes dense
cp --reflink=auto holes cloned-holes; printf changed | dd of=cloned bs=1 seek=4096 conv=notrunc status=none
dd if=cloned of=/dev/null bs=4096 iflag=direct status=none; cmp a cloned | cut -c1-20 || true
for f in plain copied; do cmp a $f; done; for f in sparse dense cloned-holes; do cmp holes $f; done
cp -a a kept; mv kept moved; cat a moved >twice; head -c 100000 twice >>a; install -m 640 a installed; ln a hard; cp -l a hard2
shred -n1 -z -u hard2; split -b 400000 twice part-; cat part-* | cmp - twice && echo joined
"#;

#[test]
fn cp() {
    for place in places() {
        must_succeed(&Comparison::new("cp"), &place, CP);
    }
}

const DD: &str = r#"
set -eu
seq 1 200000 | head -c 1048576 >source
dd if=source of=direct bs=64k oflag=direct; dd if=source of=both bs=64k iflag=direct oflag=direct
dd if=source of=small bs=4k iflag=direct; dd if=direct of=back bs=128k iflag=direct conv=fsync
cmp source direct; cmp source both; cmp source small; cmp source back
dd if=/dev/zero of=direct bs=4k seek=10 count=3 conv=notrunc oflag=direct; printf patched | dd of=direct bs=1 seek=41000 conv=notrunc
dd if=direct of=tail bs=4k skip=8 count=8 iflag=direct; dd if=source of=direct bs=4k count=4 oflag=append,direct conv=notrunc
dd if=source of=sync bs=16k oflag=direct,dsync count=8; dd if=source of=direct bs=4k count=1 seek=300 oflag=direct conv=notrunc
dd if=source of=cut bs=4k count=20 oflag=direct; dd if=/dev/null of=cut bs=4k seek=5 oflag=direct; stat -c %s cut direct
dd if=source of=odd bs=1000 count=3 oflag=direct || echo "refused: $?"
dd if=source bs=4k skip=255 iflag=direct | wc -c; dd if=source of=sparse bs=4k conv=sparse; cmp source sparse
for i in 0 1 2 3; do dd if=source of=shared bs=64k skip=$((i * 4)) seek=$((i * 4)) count=4 conv=notrunc oflag=direct status=none & done; wait; cmp source shared
"#;

/// The line with the time and the speed.
fn without_speed(text: &str) -> String {
    text.lines()
        .filter(|line| !line.contains(" copied, "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn dd() {
    for place in places() {
        must_succeed(&Comparison::new("dd").normalise(without_speed), &place, DD);
    }
}

// ---- databases ---------------------------------------------------------------------------------

const SQLITE: &str = r#"
set -eu
sql() { sqlite3 -batch -cmd '.timeout 20000' "$@"; }
for journal in delete wal truncate; do for map in 0 268435456; do
    db=$journal-$map.db; start="PRAGMA mmap_size=$map;"
    sql $db "$start PRAGMA journal_mode=$journal; CREATE TABLE t (k INTEGER PRIMARY KEY, who INT, v BLOB);" >/dev/null
    for who in 1 2 3; do (
        for n in $(seq 8); do sql $db "$start BEGIN IMMEDIATE; INSERT INTO t (who, v) SELECT $who, zeroblob(3000) FROM t LIMIT 20;
            INSERT INTO t (who, v) VALUES ($who, hex(zeroblob($n * 700))); COMMIT;" >/dev/null; done
    ) & done
    # A backup that reads past the cache, at the same time.
    (for n in $(seq 5); do dd if=$db of=/dev/null bs=64k iflag=direct status=none; sleep 0.02; done) &
    wait
    sql $db "$start PRAGMA integrity_check; SELECT who, count(*) >= 8, count(DISTINCT length(v)) >= 8 FROM t GROUP BY who;
        DELETE FROM t WHERE k % 3 = 0; VACUUM; PRAGMA integrity_check; SELECT count(*) FROM t WHERE k % 3 = 0;" | grep -v '^[0-9]*$'
    # Bytes that the device holds.
    dd if=$db of=copy.db bs=64k iflag=direct status=none; sql copy.db 'PRAGMA integrity_check;'; rm copy.db
done; done
sql fixed.db "PRAGMA mmap_size=268435456; CREATE TABLE n (i); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000)
    INSERT INTO n SELECT i FROM c; CREATE INDEX x ON n (i); SELECT sum(i), count(*) FROM n; PRAGMA integrity_check;"
sql fixed.db .dump | cksum
"#;

#[test]
fn sqlite() {
    // Which process writes first is chance, so only one of the databases must be equal byte for byte.
    const CHANCE: &[&str] = &[
        "delete-0.db",
        "delete-268435456.db",
        "wal-0.db",
        "wal-268435456.db",
        "truncate-0.db",
        "truncate-268435456.db",
    ];
    for place in places() {
        let comparison = Comparison::new("sqlite3").limit(120).ignore(CHANCE);
        must_succeed(&comparison, &place, SQLITE);
    }
}

const FIO: &str =
    "[global]\nfilename=data\nverify=crc32c\nverify_fatal=1\ndo_verify=1\nrandrepeat=1\n";

/// Runs the jobs, each a line `name: options`, on one file that is there already. Fio's exit code
/// says whether every block was what was written.
fn fio(place: &Place, jobs: &[&str], fence: Option<&Fence>) -> Outcome {
    let dir = place.directory();
    let sections = jobs.iter().map(|job| {
        let (name, options) = job.split_once(": ").expect("name: options");
        format!("[{name}]\n{}\n", options.replace(' ', "\n"))
    });
    std::fs::write(
        dir.path().join("jobs"),
        FIO.to_owned() + &sections.collect::<String>(),
    )
    .expect("our directory");
    std::fs::write(dir.path().join("data"), vec![0; 8 << 20]).expect("our directory");
    let mut command = Command::new("fio");
    command.arg("jobs").current_dir(dir.path());
    fence::apply(fence, &mut command);
    run(&mut command, Duration::from_secs(60)).expect("fio: install it")
}

/// One mode: bare it verifies, so fenced it must.
#[test]
fn fio_one_mode() {
    for place in places() {
        for jobs in [
            &["direct: ioengine=psync direct=1 rw=randwrite bs=4k-64k blockalign=4k size=8m"]
                as &[&str],
            &["buffered: ioengine=pvsync2 rw=randwrite bs=512-100k bs_unaligned size=4m"],
            &["mapped: ioengine=mmap rw=randwrite bs=4k size=8m"],
            &["vectored: ioengine=pvsync direct=1 rw=write bs=128k size=8m"],
            &["queued: ioengine=libaio iodepth=32 direct=1 rw=randwrite bs=4k size=8m"],
            &["looked: ioengine=libaio iodepth=16 userspace_reap direct=1 rw=randrw bs=4k size=8m"],
            &["at_once: ioengine=libaio iodepth=8 rw=randwrite bs=4k size=8m"],
            &[
                "first: ioengine=psync direct=1 rw=randwrite bs=4k offset=0 size=2m",
                "second: ioengine=psync direct=1 rw=randwrite bs=4k offset=2m size=2m",
            ],
        ] {
            for fence in [None, Some(Fence::new())] {
                let outcome = fio(&place, jobs, fence.as_ref());
                let how = if fence.is_some() { "fenced" } else { "bare" };
                assert_eq!(
                    outcome.code(),
                    0,
                    "{how} on {}: fio {jobs:?}: {}",
                    place.name,
                    outcome.report()
                );
            }
        }
    }
}

/// Several processes, each with its own mode, on one file.
const FIO_MIXED: [&[&str]; 4] = [
    // Each with a part of its own, the parts side by side. Linux 6.18 wasn't seen losing any of it.
    &[
        "m0: ioengine=mmap rw=randwrite bs=4k offset=0 size=1m",
        "d1: ioengine=libaio iodepth=16 direct=1 rw=randwrite bs=4k offset=1m size=1m",
        "b2: ioengine=libaio iodepth=16 rw=randwrite bs=4k offset=2m size=1m",
        "d3: ioengine=libaio iodepth=16 userspace_reap direct=1 rw=randwrite bs=4k offset=3m size=1m",
    ],
    &[
        "d0: ioengine=psync direct=1 rw=randwrite bs=4k offset=0 size=1m",
        "b1: ioengine=psync rw=randwrite bs=4k offset=1m size=1m",
        "d2: ioengine=pvsync direct=1 rw=randwrite bs=4k offset=2m size=1m",
        "b3: ioengine=pvsync2 rw=randwrite bs=4k offset=3m size=1m",
    ],
    &[
        // Fio 3.33's mmap engine maps from the file's start whatever the job's offset is.
        "m0: ioengine=mmap rw=randwrite bs=4k offset=0 size=1m",
        "d1: ioengine=psync direct=1 rw=randwrite bs=4k offset=1m size=1m",
        "d2: ioengine=psync direct=1 rw=randwrite bs=4k offset=2m size=1m",
        "b3: ioengine=psync rw=randwrite bs=4k offset=3m size=1m",
    ],
    // Two write the same part, so that nobody can verify it; the third's fsync hears of it (EIO), far away.
    &[
        "m0: ioengine=mmap verify=0 rw=randwrite bs=4k fadvise_hint=0 invalidate=0 size=1m loops=40",
        "d1: ioengine=psync verify=0 direct=1 rw=randwrite bs=64k invalidate=0 size=1m loops=40",
        "f2: ioengine=psync rw=randwrite bs=4k fsync=1 offset=2m size=256k loops=4 fadvise_hint=0 invalidate=0",
    ],
];

/// Fenced, every block verifies and every fsync succeeds; and there was something to exclude. Bare, the last of them fails.
#[test]
fn fio_mixed_modes() {
    let mut failed_bare = 0;
    for place in places() {
        for jobs in FIO_MIXED {
            let fence = Fence::new();
            let fenced = fio(&place, jobs, Some(&fence));
            assert_eq!(
                fenced.code(),
                0,
                "fenced on {}: fio {jobs:?}: {}",
                place.name,
                fenced.report()
            );
            let (direct, back) = (
                fence.count(Counter::DirectWritesDirect),
                fence.count(Counter::FallbackMapped),
            );
            // Which of them is chance: a job that maps may have ended before the others began.
            assert!(
                direct + back > 0,
                "on {}: fio {jobs:?}: {direct} writes went direct, {back} fell back",
                place.name
            );
        }
        if ["ext4", "xfs"].contains(&place.name.as_str()) {
            failed_bare += throws(&place, FIO_MIXED[3]);
        }
    }
    if std::env::var("PAGEFENCE_TEST_FILESYSTEMS").is_ok() {
        assert!(
            failed_bare > 0,
            "every fsync succeeded on bare ext4 and xfs: this proves nothing"
        );
    }
}

/// How often fio fails bare: chance decides a race, so it has up to ten throws.
fn throws(place: &Place, jobs: &[&str]) -> usize {
    let fails = |_| fio(place, jobs, None).code() != 0;
    usize::from((0..10).any(fails))
}

// ---- what can't be fenced ----------------------------------------------------------------------

#[test]
fn a_static_program_is_refused_where_it_gets_no_supervisor() {
    let (program, place) = (compile("both_ways", &["-static"]), main_place());
    let dir = place.directory();
    let mut command = Command::new(found(artefacts::command()));
    command
        .args(["run", "--supervise", "never", "--"])
        .arg(&program.path)
        .arg(dir.path());
    let outcome = run(&mut command, Duration::from_secs(20)).expect("pagefence");
    assert_eq!(outcome.code(), 125, "{}", outcome.report());
    assert!(
        outcome.stderr.contains("static"),
        "the reason is missing: {}",
        outcome.report()
    );
    assert!(!dir.path().join("data").exists(), "it was run all the same");
}

/// Through the command a program's end is its own.
#[test]
fn the_command_ends_as_the_program() {
    let fence = Fence::new();
    for (script, code) in [
        ("exit 42", 42),
        ("kill -TERM $$", 128 + 15),
        ("true", 0),
        ("kill -SEGV $$", 128 + 11),
    ] {
        for summary in [&[] as &[&str], &["--summary"]] {
            let mut command = Command::new(found(artefacts::command()));
            command
                .arg("run")
                .args(summary)
                .arg("--table")
                .arg(fence.table())
                .args(["--", "sh", "-c", script]);
            let outcome = run(&mut command, Duration::from_secs(20)).expect("pagefence");
            assert_eq!(outcome.code(), code, "{script}: {}", outcome.report());
        }
    }
}
