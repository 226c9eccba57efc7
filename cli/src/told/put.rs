//! A file that is there when it is whole: it is written without a name, and gets its own then. What is no regular file (a pipe,
//! /dev/stdout) is written to as it is.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::say::Shown;

/// Err: it can't be written; nothing is left of it, and what was there before stays.
pub fn put(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    try_to(path, write).map_err(|error| {
        let message = format!("can't write {}: {error}", path.shown());
        Failure::new(1, message, advice(&error))
    })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make the directory first, or name a file elsewhere",
        io::ErrorKind::StorageFull => "make room, or name a file elsewhere",
        _ => "name a file in a directory that you may write to",
    }
}

fn try_to(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // A link stays, and leads to the new one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut out = BufWriter::new(OpenOptions::new().write(true).open(&path)?);
        write(&mut out)?;
        return out.flush();
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = New::beside(&path, folder)?;
    {
        let mut out = BufWriter::new(file.file());
        write(&mut out)?;
        out.flush()?;
    }
    file.put()
}

/// As any new file: what the umask leaves of it.
const RIGHTS: u32 = 0o666;

/// One that has no name until it is whole: whoever is killed meanwhile leaves nothing. Some filesystems have none such (NFS,
/// FUSE): there it has another name, which signals take away, but for SIGKILL.
enum New<'a> {
    Nameless(File, &'a Path, &'a Path),
    Named(NamedTempFile, Removal, &'a Path),
}

impl<'a> New<'a> {
    fn beside(path: &'a Path, folder: &'a Path) -> io::Result<New<'a>> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, folder, flags, Mode::from_raw_mode(RIGHTS)) {
            Ok(file) => Ok(New::Nameless(file.into(), path, folder)),
            // EISDIR: of a kernel that doesn't know it.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let file = builder().tempfile_in(folder)?;
                let removal = Removal::of(file.path())?;
                Ok(New::Named(file, removal, path))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(&mut self) -> &mut File {
        match self {
            New::Nameless(file, ..) => file,
            New::Named(file, ..) => file.as_file_mut(),
        }
    }

    /// Gives it its name.
    fn put(self) -> io::Result<()> {
        match self {
            New::Named(file, removal, path) => {
                file.persist(path).map_err(|failed| failed.error)?;
                drop(removal);
                Ok(())
            }
            New::Nameless(file, path, folder) => {
                let link = format!("/proc/self/fd/{}", file.as_raw_fd());
                let name = |to: &Path| linkat(CWD, &link, CWD, to, AtFlags::SYMLINK_FOLLOW);
                match name(path) {
                    // To take another's place it must have a name first, for that moment.
                    Err(Errno::EXIST) => {
                        let named = builder().make_in(folder, |to| Ok(name(to)?))?;
                        named.persist(path).map_err(|failed| failed.error)
                    }
                    done => Ok(done?),
                }
            }
        }
    }
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".pagefence-report-");
    builder.permissions(Permissions::from_mode(RIGHTS));
    builder
}

/// Takes a file away when a signal ends us.
struct Removal(Handle);

impl Removal {
    fn of(path: &Path) -> io::Result<Removal> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, libc::SIGXFSZ])?;
        let (handle, path) = (signals.handle(), path.to_owned());
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let _ = std::fs::remove_file(path);
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
        Ok(Removal(handle))
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_file_is_nameless_one_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        for text in ["first", "second"] {
            let file = builder().tempfile_in(folder.path()).unwrap();
            let removal = Removal::of(file.path()).unwrap();
            let mut new = New::Named(file, removal, &path);
            new.file().write_all(text.as_bytes()).unwrap();
            new.put().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
