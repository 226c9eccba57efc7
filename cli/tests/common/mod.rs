//! What the tests of the command share: a directory of their own, a library to preload that
//! says when it was, and the command itself.

// Each test file is a program of its own and uses a part.
#![allow(dead_code)]

pub mod held;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A library that appends a line to the file named by MARK when it is loaded.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    const char *mark = getenv("MARK");
    int fd = mark ? open(mark, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (fd >= 0) {
        write(fd, "loaded\n", 7);
        close(fd);
    }
}
"#;

pub struct Fixture {
    directory: TempDir,
}

impl Fixture {
    pub fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Fixture { directory };
        // Other users must reach what is in it.
        fixture.chmod("", 0o755);
        fixture.write("library.c", LIBRARY.as_bytes());
        fixture.cc(&["-shared", "-fPIC", "-o", "library.so", "library.c"]);
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(name), permissions).unwrap();
    }

    /// A program to be run. Another process writes it: what this one had open for writing, a child that another
    /// thread forks meanwhile has open, too, and no kernel runs such a file (`ETXTBSY`).
    pub fn executable(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        let mut install = Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(&path);
        let mut writer = install.stdin(Stdio::piped()).spawn().unwrap();
        writer.stdin.take().unwrap().write_all(contents).unwrap();
        assert!(writer.wait().unwrap().success(), "{path:?}");
        path
    }

    /// The command itself, where users can reach it who can't reach the folder that it was built in.
    pub fn own_command(&self) -> PathBuf {
        let command = std::fs::read(env!("CARGO_BIN_EXE_pagefence")).unwrap();
        self.executable("pagefence", &command)
    }

    pub fn cc(&self, arguments: &[&str]) {
        let mut cc = Command::new("cc");
        let status = cc
            .current_dir(self.directory.path())
            .args(arguments)
            .status();
        assert!(status.unwrap().success(), "cc {arguments:?}");
    }

    /// The command, with the library of this fixture and no variables of ours.
    pub fn pagefence(&self) -> Command {
        self.prepare(Command::new(env!("CARGO_BIN_EXE_pagefence")))
    }

    /// The same environment without the command.
    pub fn bare(&self, program: impl AsRef<Path>) -> Command {
        self.prepare(Command::new(program.as_ref()))
    }

    fn prepare(&self, mut command: Command) -> Command {
        for name in policy::environment::ALL {
            command.env_remove(name);
        }
        command
            .env_remove("LD_PRELOAD")
            .env("PAGEFENCE_LIBRARY", self.path("library.so"))
            .env("MARK", self.path("mark"))
            .current_dir(self.directory.path());
        command
    }

    /// Runs `pagefence run` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.pagefence()
            .arg("run")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Whether the library was loaded since this was last asked.
    pub fn was_loaded(&self) -> bool {
        std::fs::remove_file(self.path("mark")).is_ok()
    }
}

/// The library that was built beside the command.
pub fn library() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_pagefence")).with_file_name("libpagefence.so");
    assert!(
        beside.exists(),
        "{}: cargo build --workspace",
        beside.display()
    );
    beside
}

/// Ended with the test.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Once it has said so.
    pub fn wait_for_line(&mut self) {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
    }

    pub fn number(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The test can't be made here: a failure where everything must be.
pub fn skip(why: &str) {
    assert!(std::env::var_os("PAGEFENCE_TEST_STRICT").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Where one of those is that the tests run on.
pub fn filesystem(name: &str) -> Option<PathBuf> {
    let all = std::env::var("PAGEFENCE_TEST_FILESYSTEMS").ok()?;
    all.split(' ')
        .find_map(|one| Some(PathBuf::from(one.strip_prefix(name)?.strip_prefix('=')?)))
}

/// Unmounted with the test.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Mounts what `mount` is told to there.
pub fn mount(arguments: &[&str], at: PathBuf) -> Mounted {
    let mut command = Command::new("mount");
    let output = command.args(arguments).arg(&at).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    Mounted(at)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
