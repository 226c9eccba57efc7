//! Compiles the small C programs in `programs/` that show one hazard each.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A compiled program, gone when dropped.
pub struct Program {
    _dir: TempDir,
    pub path: PathBuf,
}

impl Program {
    /// It, to be started on a directory.
    pub fn on(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(dir);
        command
    }
}

/// Builds a Go program with Go's own toolchain; linked with C, or not.
pub fn go(source: &Path, how: &[&str], with_c: bool) -> Program {
    let dir = tempfile::tempdir().expect("a directory for a compiled program");
    let path = dir.path().join(source.file_stem().expect("a source"));
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&path).args(how).arg(source);
    go.env("GO111MODULE", "off");
    go.env("CGO_ENABLED", if with_c { "1" } else { "0" });
    let built = go.output();
    let built = built.expect("go: install golang-go");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{}: {said}", source.display());
    Program { _dir: dir, path }
}

/// A file that is executed, with the mode `bits`. Another process writes it: what this one had open for writing, a
/// child that another thread forks meanwhile has open, too, and no kernel runs such a file (`ETXTBSY`).
pub fn executable(path: &Path, contents: &[u8], bits: u32) {
    use std::io::Write;
    let mut install = Command::new("install");
    install.arg("-m").arg(format!("{bits:o}"));
    install.arg("/dev/stdin").arg(path);
    let writer = install.stdin(std::process::Stdio::piped()).spawn();
    let mut writer = writer.expect("install, of coreutils");
    let written = writer.stdin.take().map(|mut to| to.write_all(contents));
    written.expect("a pipe").expect("a file of ours");
    let status = writer.wait().expect("install");
    assert!(status.success(), "{}", path.display());
}

/// `programs/NAME.go`.
pub fn go_source(name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    programs.join(format!("{name}.go"))
}

/// Compiles `programs/NAME.c` with the machine's C compiler and further flags.
pub fn compile(name: &str, flags: &[&str]) -> Program {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new()
        .prefix("pagefence-program-")
        .tempdir();
    let dir = dir.expect("a directory for a compiled program");
    // Some programs give up root and then execute themselves.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("chmod of a directory of ours");
    let path = dir.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(format!("{name}.c"));
    let cc = Command::new("cc")
        .args(["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-pthread"])
        .args(["-Wall", "-Wextra", "-Werror"])
        .arg("-o")
        .arg(&path)
        .arg(source)
        .args(flags)
        .output()
        .expect("cc: install gcc and libc6-dev");
    assert!(
        cc.status.success(),
        "{name}.c: {}",
        String::from_utf8_lossy(&cc.stderr)
    );
    Program { _dir: dir, path }
}
