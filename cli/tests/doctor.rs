//! `pagefence doctor`: what it says of real programs and processes is what happens when they are fenced.

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Fixture, Running, is_root, library, stderr, stdout};
use serde_json::Value;

/// System calls that a program makes without libc are covered (on x86-64).
const SYSCALLS: &[u8] = b"[defaults]\ncoverage = \"syscalls\"\n";

const NOBODY: u32 = 65534;

fn ask(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command
        .env("PAGEFENCE_LIBRARY", library())
        .arg("doctor")
        .args(arguments);
    command.output().unwrap()
}

/// The answer as JSON, and the exit code; what people see has the same verdict.
fn answer(fixture: &Fixture, arguments: &[&str], code: i32) -> Value {
    let people = ask(fixture, arguments);
    let both: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let output = ask(fixture, &both);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        stdout(&people),
        stderr(&people)
    );
    assert_eq!(people.status.code(), Some(code));
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let verdict = answer["verdict"].as_str().unwrap();
    assert_eq!(stdout(&people).lines().next(), Some(verdict));
    assert_eq!(answer["covered"], code == 0);
    answer
}

/// What was found, by its key: the state and the words.
fn found<'a>(answer: &'a Value, about: &str) -> Vec<(&'a str, &'a str)> {
    let sections = answer["sections"].as_array().unwrap();
    let all = sections
        .iter()
        .flat_map(|s| s["findings"].as_array().unwrap());
    all.filter(|f| f["about"] == about)
        .map(|f| (f["state"].as_str().unwrap(), f["what"].as_str().unwrap()))
        .collect()
}

fn state_of(answer: &Value, about: &str) -> String {
    let found = found(answer, about);
    found
        .first()
        .map_or("nothing", |(state, _)| state)
        .to_owned()
}

/// Says that it is there, and waits to be ended.
const WAITS: &str =
    "#include <stdio.h>\nint main(void) { puts(\"here\"); fflush(stdout); getchar(); return 0; }\n";

fn waiting(fixture: &Fixture, name: &str, flags: &[&str]) -> PathBuf {
    fixture.write("waits.c", WAITS.as_bytes());
    let arguments: Vec<&str> = flags
        .iter()
        .copied()
        .chain(["-o", name, "waits.c"])
        .collect();
    fixture.cc(&arguments);
    fixture.path(name)
}

#[test]
fn the_machine() {
    let fixture = Fixture::new();
    let all = answer(&fixture, &[], 0);
    assert_eq!(all["kind"], "machine");
    for about in [
        "kernel",
        "library",
        "features",
        "filesystem",
        "table",
        "memory",
    ] {
        assert_eq!(state_of(&all, about), "covered", "{about}: {all}");
    }
    let mut without = fixture.pagefence();
    let output = without
        .env("PAGEFENCE_LIBRARY", "/no/such/library")
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("NO  PAGEFENCE_LIBRARY names /no/such/library"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_plain_program_is_covered() {
    let fixture = Fixture::new();
    for program in ["/bin/cat", "cat"] {
        let cat = answer(&fixture, &[program], 0);
        assert!(
            cat["verdict"]
                .as_str()
                .unwrap()
                .ends_with("all that can be seen of it is covered")
        );
        assert_eq!(state_of(&cat, "loader"), "covered");
        assert_eq!(state_of(&cat, "calls"), "covered");
    }
    let python = answer(&fixture, &["/usr/bin/python3"], 0);
    assert_eq!(state_of(&python, "dlopen"), "note");
}

#[test]
fn programs_that_no_preload_can_enter() {
    let fixture = Fixture::new();
    let statically = waiting(&fixture, "static", &["-static"]);
    let line = format!("#!{}\n", statically.display());
    fixture.executable("script", line.as_bytes());
    for program in ["./static", "./script"] {
        let of = answer(&fixture, &[program], 0);
        assert_eq!(state_of(&of, "supervisor"), "covered");
        assert!(of.to_string().contains("it is static"), "{of}");
    }
    fixture.executable("emptied", b"#!/usr/bin/env -S -i sh\n");
    assert_eq!(
        state_of(&answer(&fixture, &["./emptied"], 1), "program"),
        "uncovered"
    );
    fixture.write("go.c", b"__asm__(\".section .note.go.buildid,\\\"a\\\",@note\\n.balign 4\\n.long 4, 4, 4\\n.asciz \\\"Go\\\\0\\\"\\n.long 1\\n.previous\\n\");\nint main(void) { return 0; }\n");
    fixture.cc(&["-o", "go", "go.c"]);
    let go = answer(&fixture, &["./go"], 0);
    assert_eq!(state_of(&go, "supervisor"), "covered");
    fixture.write("syscalls.toml", SYSCALLS);
    let seen = answer(&fixture, &["--policy", "syscalls.toml", "./go"], 0);
    assert_eq!(state_of(&seen, "loader"), "covered");
    fixture.cc(&["-nostdlib", "-pie", "-Wl,-e,main", "-o", "alone", "go.c"]);
    let alone = answer(&fixture, &["--policy", "syscalls.toml", "./alone"], 0);
    assert_eq!(state_of(&alone, "supervisor"), "covered");
    let mut foreign = std::fs::read("/bin/true").unwrap();
    foreign[18..20].copy_from_slice(&8_u16.to_le_bytes());
    fixture.executable("foreign", &foreign);
    assert_eq!(
        state_of(&answer(&fixture, &["./foreign"], 1), "architecture"),
        "uncovered"
    );
    if is_root() {
        let program = fixture.executable("setuid", &std::fs::read("/bin/true").unwrap());
        chown(&program, Some(NOBODY), None).unwrap();
        fixture.chmod("setuid", 0o4755);
        assert_eq!(
            state_of(&answer(&fixture, &["./setuid"], 1), "privilege"),
            "uncovered"
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_in_its_code_and_its_libraries() {
    let fixture = Fixture::new();
    fixture.write("syscalls.toml", SYSCALLS);
    let call = |number: i64| {
        format!(
            "long f(long n) {{ long r; (void)n; __asm__ volatile(\"syscall\" : \"=a\"(r) : \"0\"({number}L) : \"rcx\", \"r11\"); return r; }}\n"
        )
    };
    fixture.write(
        "main.c",
        b"long f(long);\nint main(void) { return (int)f(1); }\n",
    );
    let computed = "long f(long n) { long r; __asm__ volatile(\"syscall\" : \"=a\"(r) : \"0\"(n * 3) : \"rcx\", \"r11\"); return r; }\n";
    for (text, code, state, words) in [
        (call(libc::SYS_pread64), 1, "uncovered", "pread64"),
        (call(libc::SYS_read), 1, "uncovered", "read"),
        (call(libc::SYS_getpid), 0, "nothing", ""),
        (computed.to_owned(), 0, "note", "calculated"),
    ] {
        fixture.write("f.c", text.as_bytes());
        fixture.cc(&["-O1", "-o", "inline", "main.c", "f.c"]);
        fixture.cc(&["-O1", "-shared", "-fPIC", "-o", "libf.so", "f.c"]);
        fixture.cc(&["-o", "linked", "main.c", "libf.so", "-Wl,-rpath,$ORIGIN"]);
        for (program, by) in [("./inline", "inline makes"), ("./linked", "libf.so makes")] {
            let of = answer(&fixture, &[program], code);
            assert_eq!(state_of(&of, "raw-calls"), state, "{program}: {of}");
            let said = found(&of, "raw-calls");
            assert!(
                said.iter()
                    .all(|(_, what)| what.contains(words) && what.starts_with(by)),
                "{said:?}"
            );
            if state == "uncovered" {
                let of = answer(&fixture, &["--policy", "syscalls.toml", program], 0);
                assert_eq!(state_of(&of, "raw-calls"), "note", "{program}: {of}");
            }
        }
    }
    // Nobody comes into a static one, whatever the policy says; and nobody need.
    fixture.write("f.c", call(libc::SYS_pread64).as_bytes());
    fixture.cc(&["-static", "-o", "static", "main.c", "f.c"]);
    let of = answer(&fixture, &["--policy", "syscalls.toml", "./static"], 0);
    assert!(
        !of.to_string().contains("the policy has them covered"),
        "{of}"
    );
}

#[test]
fn io_uring_names_of_its_own_and_sanitizers() {
    let fixture = Fixture::new();
    fixture.write("uring.c", b"int io_uring_queue_init(unsigned n, void *r, unsigned f) { (void)n; (void)r; (void)f; return -38; }\n");
    fixture.cc(&["-shared", "-fPIC", "-o", "liburing.so.2", "uring.c"]);
    fixture.write("user.c", b"int io_uring_queue_init(unsigned, void *, unsigned);\nint main(void) { return io_uring_queue_init(1, 0, 0); }\n");
    fixture.cc(&["-o", "user", "user.c", "./liburing.so.2"]);
    assert_eq!(
        state_of(&answer(&fixture, &["./user"], 0), "io_uring"),
        "note"
    );
    fixture.write("allow.toml", b"[defaults]\nio_uring = \"allow\"\n");
    let allowed = answer(&fixture, &["--policy", "allow.toml", "./user"], 1);
    assert_eq!(state_of(&allowed, "io_uring"), "uncovered");
    for real in ["/usr/sbin/mariadbd", "/usr/bin/qemu-img"] {
        if Path::new(real).exists() {
            assert_eq!(
                state_of(&answer(&fixture, &[real], 0), "io_uring"),
                "note",
                "{real}"
            );
        }
    }
    fixture.write("own.c", b"#include <sys/types.h>\nssize_t pread(int f, void *b, size_t n, off_t o) { (void)f; (void)b; (void)n; (void)o; return 7; }\nint main(void) { return (int)pread(0, 0, 0, 0); }\n");
    fixture.cc(&["-rdynamic", "-o", "own", "own.c"]);
    let own = answer(&fixture, &["./own"], 1);
    assert!(
        found(&own, "own-names")[0].1.contains("called pread:"),
        "{own}"
    );
    fixture.write("asan.c", b"const char *__asan_default_options(void) { return \"\"; }\nint main(void) { return 0; }\n");
    let built = Command::new("cc")
        .current_dir(fixture.path(""))
        .args(["-fsanitize=address", "-o", "asan", "asan.c"])
        .status();
    if built.is_ok_and(|s| s.success()) {
        let asan = answer(&fixture, &["./asan"], 1);
        assert!(
            asan.to_string().contains("verify_asan_link_order=0"),
            "{asan}"
        );
    }
}

#[test]
fn other_preloads_the_table_and_rules() {
    let fixture = Fixture::new();
    fixture.write("p.toml", b"table = \"/nowhere/table\"\n[[rule]]\nname = \"cats\"\nprogram = [\"cat\"]\nisolation = \"atomic\"\n[[rule]]\nname = \"dogs\"\nprogram = [\"dog\"]\nisolation = \"atomic\"\n");
    let mut command = fixture.pagefence();
    let command = command.args(["doctor", "--json", "--policy", "p.toml", "/bin/cat"]);
    let command = command
        .env("PAGEFENCE_LIBRARY", library())
        .env("LD_PRELOAD", fixture.path("library.so"));
    let of: Value = serde_json::from_str(&stdout(&command.output().unwrap())).unwrap();
    assert!(found(&of, "preloads")[0].1.contains("library.so"), "{of}");
    assert!(
        found(&of, "table")[0]
            .1
            .contains("/nowhere/table (named by the policy)"),
        "{of}"
    );
    let rules = found(&of, "policy");
    assert_eq!(rules.len(), 1, "{rules:?}");
    assert!(
        rules[0].1.contains("rule \"cats\" names it") && rules[0].1.contains("atomic"),
        "{rules:?}"
    );
    fixture.write("off.toml", b"[defaults]\nmode = \"off\"\n");
    let off = answer(&fixture, &["--policy", "off.toml", "/bin/cat"], 1);
    assert_eq!(state_of(&off, "policy"), "uncovered");
    let mut mine = fixture.pagefence();
    let mine = mine
        .args(["table", "create", "--processes", "4", "--table"])
        .arg(fixture.path("mine"));
    assert!(mine.output().unwrap().status.success());
    let mut command = fixture.pagefence();
    let command = command
        .args(["doctor", "/bin/cat"])
        .env("PAGEFENCE_TABLE", fixture.path("mine"));
    let said = stdout(&command.output().unwrap());
    assert!(
        said.contains("mine (named by the variable PAGEFENCE_TABLE)"),
        "{said}"
    );
    assert!(
        said.contains("only user") && said.contains("0 processes are in it"),
        "{said}"
    );
}

#[test]
fn a_process_that_is_not_fenced() {
    let fixture = Fixture::new();
    let program = waiting(&fixture, "waits", &[]);
    let mut running = Running::start(&mut fixture.bare(&program));
    running.wait_for_line();
    let of = answer(&fixture, &[&running.number()], 1);
    assert!(
        found(&of, "fence")[0]
            .1
            .contains("started without LD_PRELOAD"),
        "{of}"
    );
    let program = waiting(&fixture, "static", &["-static"]);
    let mut command = fixture.bare(&program);
    let mut running = Running::start(command.env("LD_PRELOAD", library()));
    running.wait_for_line();
    assert_eq!(
        state_of(&answer(&fixture, &[&running.number()], 1), "static"),
        "uncovered"
    );
}

#[test]
fn a_process_that_is_fenced_and_its_files() {
    let fixture = Fixture::new();
    let program = waiting(&fixture, "waits", &[]);
    fixture.write("data", &[b'x'; 8192]);
    fixture.write(
        "p.toml",
        format!(
            "[[rule]]\nname = \"left\"\npath = [\"{}\"]\nmode = \"off\"\n",
            fixture.path("waits.c").display()
        )
        .as_bytes(),
    );
    let open = |name: &str, flags: i32| {
        std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(fixture.path(name))
            .unwrap()
    };
    let files = [
        open("data", 0),
        open("data", libc::O_DIRECT),
        open("waits.c", 0),
    ];
    let mut command = fixture.bare(&program);
    command
        .env("LD_PRELOAD", library())
        .env("PAGEFENCE_TABLE", fixture.path("table"));
    command.env("PAGEFENCE_POLICY", fixture.path("p.toml"));
    let numbers = files.each_ref().map(|file| file.as_raw_fd());
    // SAFETY: between fork and exec it only makes a system call.
    unsafe {
        command.pre_exec(move || {
            for (i, fd) in numbers.iter().enumerate() {
                libc::dup2(*fd, 50 + i as i32);
            }
            Ok(())
        });
    }
    let mut running = Running::start(&mut command);
    running.wait_for_line();
    let of = answer(&fixture, &[&running.number()], 0);
    assert!(found(&of, "fence")[0].1.starts_with("it is fenced"), "{of}");
    assert!(
        found(&of, "table")[0].1.contains("1 processes are in it"),
        "{of}"
    );
    let mixed = found(&of, "mixed");
    assert!(mixed.len() == 1 && mixed[0].1.contains("data"), "{mixed:?}");
    let file = |number: i64| {
        let all = of["files"].as_array().unwrap().iter();
        all.clone().find(|file| file["number"] == number).unwrap()
    };
    assert_eq!(
        (file(50)["mode"].as_str(), file(50)["fenced"].as_str()),
        (Some("buffered"), Some("enforce"))
    );
    assert_eq!(
        (file(51)["mode"].as_str(), file(51)["fenced"].as_str()),
        (Some("direct"), Some("enforce"))
    );
    assert_eq!(
        (file(52)["fenced"].as_str(), file(52)["rule"].as_str()),
        (Some("off"), Some("rule \"left\""))
    );

    // The program may go, and the process is what it was.
    std::fs::remove_file(&program).unwrap();
    let gone = answer(&fixture, &[&running.number()], 0);
    assert!(found(&gone, "program")[0].1.contains("deleted"), "{gone}");
}

#[test]
fn processes_of_another_libc_and_of_other_rights() {
    let fixture = Fixture::new();
    let held = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
int main(int argc, char **argv) {
    (void)argc;
    mmap(0, 4096, PROT_READ, MAP_PRIVATE, open(argv[1], O_RDONLY), 0);
    puts("here"); fflush(stdout); getchar();
    return 0;
}
"#;
    fixture.write("held.c", held.as_bytes());
    fixture.cc(&["-o", "held", "held.c"]);
    fixture.write("ld-musl-x86_64.so.1", &[0; 4096]);
    let mut command = fixture.bare(fixture.path("held"));
    let mut running = Running::start(command.arg(fixture.path("ld-musl-x86_64.so.1")));
    running.wait_for_line();
    assert_eq!(
        state_of(&answer(&fixture, &[&running.number()], 1), "libc"),
        "uncovered"
    );
    if !is_root() {
        return eprintln!("programs of other users need root");
    }
    // One that gained rights, and nobody's look at root's.
    let program = waiting(&fixture, "setuid", &[]);
    chown(&program, Some(1), None).unwrap();
    fixture.chmod("setuid", 0o4755);
    let mut command = fixture.bare(&program);
    let mut running = Running::start(command.env("LD_PRELOAD", library()));
    running.wait_for_line();
    let of = answer(&fixture, &[&running.number()], 1);
    assert!(found(&of, "privilege")[0].1.contains("AT_SECURE"), "{of}");
    let own = fixture.own_command();
    let mut other = fixture.bare(&own);
    let output = other
        .args(["doctor", &std::process::id().to_string()])
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("or as root"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_makes_no_sense() {
    let fixture = Fixture::new();
    fixture.write("broken.toml", b"[defaults]\nmode = \"of\"\n");
    fixture.executable("broken", b"\x7fELF\x02\x01\x01_________\x07\x00\x3e\x00");
    fixture.write("text", b"text\n");
    for (arguments, code, said) in [
        (
            &["no-such-program-anywhere"] as &[&str],
            2,
            "not found in PATH",
        ),
        (&["./missing"], 2, "no such file"),
        (&["./text"], 2, "no permission"),
        (&["/tmp"], 2, "not a regular file"),
        (&["0"], 2, "there is no process 0"),
        (&["4194305"], 2, "there is no process 4194305"),
        (&["99999999999999999999"], 2, "there is no process"),
        (&["a", "b"], 2, "unexpected argument"),
        (&["--policy", "broken.toml", "/bin/cat"], 2, "did you mean"),
        (&["--policy", "missing.toml", "/bin/cat"], 2, "missing.toml"),
    ] {
        let output = ask(&fixture, arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(said),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
    let broken = answer(&fixture, &["./broken"], 1);
    assert!(
        found(&broken, "program")[0].1.contains("broken ELF file"),
        "{broken}"
    );
}

/// A name that isn't one was looked for in PATH, and a directory of it shown. Who reads JSON finds none, and the reason.
#[test]
fn what_is_no_name_of_a_program() {
    let fixture = Fixture::new();
    for (name, words) in [
        ("", "pagefence: the program has an empty name\n"),
        (
            ".",
            "pagefence: . can't be executed: it is not a regular file\n",
        ),
        (
            "..",
            "pagefence: .. can't be executed: it is not a regular file\n",
        ),
    ] {
        for arguments in [&[name][..], &["--json", name]] {
            let output = ask(&fixture, arguments);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert_eq!(stdout(&output), "", "{arguments:?}");
            assert!(stderr(&output).starts_with(words), "{}", stderr(&output));
        }
    }
    let mut help = fixture.pagefence();
    let help = stdout(&help.args(["doctor", "--help"]).output().unwrap());
    assert!(help.contains("With 2 and 125 standard output stays empty"));
}

/// It joins its table at the first file that is fenced, and until then isn't said to be unfenced for good.
#[test]
fn a_process_that_has_used_no_file_yet() {
    let fixture = Fixture::new();
    let mut command = fixture.pagefence();
    command.env("PAGEFENCE_LIBRARY", library());
    let sleeps = Running::start(command.args(["run", "--", "sleep", "100"]));
    let number = sleeps.number();
    let said = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let said = stdout(&ask(&fixture, &[&number]));
        said.contains("is loaded, and in no lock table")
            .then_some(said)
    });
    let said = said.expect("what doctor says of it");
    assert!(
        said.contains("it has used no file yet that is fenced"),
        "{said}"
    );
}
