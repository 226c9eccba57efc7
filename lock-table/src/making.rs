//! Making a table: it appears at its path complete or not at all, and who is killed meanwhile leaves nothing.

use core::sync::atomic::Ordering::{Relaxed, Release};

use kernel::text::Text;
use rustix::fd::AsFd;
use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::cells::{HEADER_BYTES, Header, MAGIC, SOUND, VERSION};
use crate::checks::{Fd, OPEN, trusted_group};
use crate::error::{Fault, Path};
use crate::geometry::Geometry;

pub(crate) fn make(path: &Path, geometry: &Geometry) -> Result<(), Fault> {
    if !geometry.is_sane() {
        return Err(Fault::BadGeometry);
    }
    make_unnamed(path, geometry).unwrap_or_else(|| make_renamed(path, geometry))
}

/// Made without a name, and linked when it is whole: nobody ever sees half a table, and whoever is killed here leaves
/// nothing. None: it can't be done here.
fn make_unnamed(path: &Path, geometry: &Geometry) -> Option<Result<(), Fault>> {
    let flags = OPEN.difference(OFlags::NOFOLLOW).union(OFlags::TMPFILE);
    let fd = match fs::openat(
        fs::CWD,
        path.parent().as_c_str(),
        flags,
        Mode::from_raw_mode(0o600),
    ) {
        Ok(fd) => Fd::from(fd),
        Err(Errno::NOENT) => return Some(Err(Fault::NoDirectory)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return None,
        Err(e) => return Some(Err(Fault::from_errno(e))),
    };
    if let Err(fault) = fill(&fd, path, geometry) {
        return Some(Err(fault));
    }
    let link = Text::<64>::of(format_args!("/proc/self/fd/{}", fd.0));
    let (from, follow) = (link.as_c_str(), AtFlags::SYMLINK_FOLLOW);
    // link, not rename: a table that somebody else has put there meanwhile stays.
    match fs::linkat(fs::CWD, from, fs::CWD, path.as_c_str(), follow) {
        Ok(()) => Some(Ok(())),
        Err(Errno::EXIST) => Some(Err(Fault::Exists)),
        Err(_) => None, // no /proc, say
    }
}

/// The same under another name, where that can't be done.
fn make_renamed(path: &Path, geometry: &Geometry) -> Result<(), Fault> {
    let suffix = Text::<64>::of(format_args!(
        ".{}.{}",
        rustix::process::getpid().as_raw_pid(),
        kernel::now_ns()
    ));
    let temporary = path
        .with_suffix(suffix.as_bytes())
        .ok_or(Fault::PathTooLong)?;
    let flags = OPEN.union(OFlags::CREATE).union(OFlags::EXCL);
    let fd = match fs::openat(
        fs::CWD,
        temporary.as_c_str(),
        flags,
        Mode::from_raw_mode(0o600),
    ) {
        Ok(fd) => Fd::from(fd),
        Err(Errno::NOENT) => return Err(Fault::NoDirectory),
        Err(e) => return Err(Fault::from_errno(e)),
    };
    let done = fill(&fd, path, geometry).and_then(|()| {
        fs::linkat(
            fs::CWD,
            temporary.as_c_str(),
            fs::CWD,
            path.as_c_str(),
            AtFlags::empty(),
        )
        .map_err(Fault::from_errno)
    });
    let _ = fs::unlink(temporary.as_c_str()); // if it can't be removed, it is in nobody's way
    done
}

pub(crate) fn fill(fd: impl AsFd, path: &Path, geometry: &Geometry) -> Result<(), Fault> {
    let fd = fd.as_fd();
    // All of it now: a page that can't be had later would be a SIGBUS in somebody's program.
    let length = geometry.layout().length;
    kernel::without_signals(|| fs::fallocate(fd, FallocateFlags::empty(), 0, length))
        .map_err(Fault::from_errno)?;
    if trusted_group(path).is_some() {
        // By fchmod, which the umask doesn't touch.
        fs::fchmod(fd, Mode::from_raw_mode(0o660)).map_err(Fault::from_errno)?;
    }
    // SAFETY: a new mapping of the first page, which was just allocated.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            HEADER_BYTES as usize,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            fd,
            0,
        )
    };
    let base = base.map_err(Fault::from_errno)?;
    // SAFETY: a page, aligned, and a header is made of atomics.
    let header = unsafe { &*base.cast::<Header>() };
    header.version.store(VERSION, Relaxed);
    header.processes.store(geometry.processes, Relaxed);
    header.slots.store(geometry.slots, Relaxed);
    header.requests.store(geometry.requests, Relaxed);
    header.mappings.store(geometry.mappings, Relaxed);
    header.uses.store(geometry.uses, Relaxed);
    header.check.store(geometry.check(), Relaxed);
    header.ticket.store(1, Relaxed);
    header.sound.store(SOUND, Relaxed);
    header.magic.store(MAGIC, Release);
    // SAFETY: mapped above; the reference is not used any more.
    let _ = unsafe { rustix::mm::munmap(base, HEADER_BYTES as usize) };
    Ok(())
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use rustix::fs::inotify;

    /// Whoever watches the directory sees one name come, the table's: no kill can leave another.
    #[test]
    fn no_other_name_ever_appears() {
        let dir = std::env::temp_dir().join(format!("pagefence-making-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        let at = |name: &str| {
            std::ffi::CString::new(dir.join(name).into_os_string().into_encoded_bytes()).unwrap()
        };
        inotify::add_watch(&watch, at("").as_c_str(), inotify::WatchFlags::CREATE).unwrap();
        let path = Path::new(&at("table")).unwrap();
        assert_eq!(make(&path, &Geometry::default()), Ok(()));
        assert_eq!(make(&path, &Geometry::default()), Err(Fault::Exists));
        let mut read = [0; 1024];
        assert!(rustix::io::read(&watch, &mut read).unwrap() > 0);
        let names = read.split(|byte| *byte == 0).filter(|part| part.len() > 2);
        assert_eq!(names.collect::<Vec<_>>(), [b"table"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
