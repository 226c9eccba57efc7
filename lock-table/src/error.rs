//! Why a table can't be used: one line that names the file, what is wrong, and the way out.

use core::ffi::CStr;
use core::fmt;

use rustix::io::Errno;

/// The longest path of a table, the final zero included.
pub(crate) const PATH: usize = 1024;

/// A path without an allocation.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    bytes: [u8; PATH],
}

impl Path {
    pub(crate) const EMPTY: Path = Path { bytes: [0; PATH] };

    pub(crate) fn new(path: &CStr) -> Option<Path> {
        let from = path.to_bytes_with_nul();
        let mut bytes = [0; PATH];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Path { bytes })
    }

    /// The same path with something put behind it.
    pub(crate) fn with_suffix(&self, suffix: &[u8]) -> Option<Path> {
        let mut longer = *self;
        let at = self.as_c_str().to_bytes().len();
        let end = at.checked_add(suffix.len())?;
        longer.bytes.get_mut(at..end)?.copy_from_slice(suffix);
        (end < PATH).then_some(longer)
    }

    /// The directory that the path's last name is in.
    pub(crate) fn parent(&self) -> Path {
        let name = self.as_c_str().to_bytes();
        let keep = name
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(0, |at| at.max(1));
        let mut dir = Path { bytes: [0; PATH] };
        for (to, from) in dir.bytes.iter_mut().zip(name.get(..keep).unwrap_or(&[])) {
            *to = *from;
        }
        if let (0, Some(first)) = (keep, dir.bytes.first_mut()) {
            *first = b'.';
        }
        dir
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    PathTooLong,
    NoDirectory,
    Exists,
    Missing,
    SymbolicLink,
    NotRegular,
    WrongOwner {
        uid: u32,
    },
    OpenToAll {
        mode: u32,
    },
    Empty,
    Truncated {
        is: u64,
        should: u64,
    },
    NotATable,
    OtherVersion {
        is: u32,
        should: u32,
    },
    BadGeometry,
    Replaced,
    NoSpace,
    /// RLIMIT_FSIZE is lower than what a table needs.
    FileLimit,
    /// No more memory may be mapped.
    NoMemory,
    Permission,
    /// Every process entry is taken.
    Full,
    /// Contents that no fenced process writes.
    Poisoned,
    Other(i32),
}

/// A table that can't be used, and why.
#[derive(Clone, Copy)]
pub struct TableError {
    fault: Fault,
    path: Path,
}

impl TableError {
    pub(crate) fn new(fault: Fault, path: &Path) -> TableError {
        TableError { fault, path: *path }
    }

    pub fn fault(&self) -> Fault {
        self.fault
    }
}

impl Fault {
    /// What an error of a call on the table's path means.
    pub(crate) fn from_errno(e: Errno) -> Fault {
        match e {
            Errno::NOENT => Fault::Missing,
            Errno::NOTDIR => Fault::NoDirectory,
            Errno::LOOP => Fault::SymbolicLink,
            Errno::EXIST => Fault::Exists,
            Errno::NOSPC | Errno::DQUOT => Fault::NoSpace,
            Errno::FBIG => Fault::FileLimit,
            Errno::NOMEM => Fault::NoMemory,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Fault::Permission,
            Errno::ISDIR | Errno::NXIO | Errno::NODEV => Fault::NotRegular,
            Errno::NAMETOOLONG => Fault::PathTooLong,
            other => Fault::Other(other.raw_os_error()),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_c_str().to_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.path;
        const ELSEWHERE: &str = "name another with --table";
        write!(f, "lock table {p}: ")?;
        match self.fault {
            Fault::PathTooLong => write!(
                f,
                "the path is longer than {} bytes, or a name in it too long; {ELSEWHERE}",
                PATH.saturating_sub(1)
            ),
            Fault::NoDirectory => write!(
                f,
                "its directory is missing; make it: mkdir -p {}",
                p.parent()
            ),
            Fault::Exists => write!(
                f,
                "it exists already; to make it anew, remove it when no fenced program runs: rm {p}"
            ),
            Fault::Missing => write!(f, "there is none; the first fenced program makes it"),
            Fault::SymbolicLink => write!(
                f,
                "it is a symbolic link, which is not followed; {ELSEWHERE}"
            ),
            Fault::NotRegular => write!(f, "it is not a regular file; {ELSEWHERE}"),
            Fault::WrongOwner { uid } => {
                write!(
                    f,
                    "it belongs to user {uid}, who is neither you nor root; {ELSEWHERE}"
                )
            }
            Fault::OpenToAll { mode } => {
                write!(
                    f,
                    "everybody may write it (mode {mode:o}); if it is yours: chmod o-w {p}"
                )
            }
            Fault::Empty => write!(
                f,
                "it is empty; remove it when no fenced program runs: rm {p}"
            ),
            Fault::Truncated { is, should } => write!(
                f,
                "it has {is} bytes and should have {should}; remove it when no fenced program runs: rm {p}"
            ),
            Fault::NotATable => write!(f, "it is not a lock table; {ELSEWHERE}"),
            Fault::OtherVersion { is, should } => write!(
                f,
                "it is of version {is}, this program's is {should}; stop the fenced programs, then remove it: rm {p}"
            ),
            Fault::BadGeometry => {
                write!(
                    f,
                    "the sizes in its header are damaged; remove it when no fenced program runs: rm {p}"
                )
            }
            Fault::Replaced => write!(f, "it was replaced while it was opened; try again"),
            Fault::NoSpace => write!(
                f,
                "no space left for it (ENOSPC); free some, or {ELSEWHERE}"
            ),
            Fault::FileLimit => write!(
                f,
                "it would be larger than files may be here (RLIMIT_FSIZE, ulimit -f); raise that limit, or make it where there is none: pagefence table create --table {p}"
            ),
            Fault::NoMemory => write!(
                f,
                "it can't be mapped, memory is short or limited (RLIMIT_AS, ulimit -v); raise the limit, or make a smaller table: pagefence table create --help"
            ),
            Fault::Permission => write!(f, "permission denied; {ELSEWHERE}"),
            Fault::Full => write!(
                f,
                "all its process entries are taken; stop some fenced programs, or all and make it larger: rm {p}, then pagefence table create --table {p} --processes N"
            ),
            Fault::Poisoned => {
                write!(
                    f,
                    "its contents are damaged; stop the fenced programs, then remove it: rm {p}"
                )
            }
            Fault::Other(errno) => write!(f, "{}; {ELSEWHERE}", Errno::from_raw_os_error(errno)),
        }
    }
}

impl fmt::Debug for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.fault)
    }
}

impl core::error::Error for TableError {}
