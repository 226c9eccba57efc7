//! Why a table can't be used: one line that names the file, what is wrong, and the way out.

use core::ffi::CStr;
use core::fmt::{self, Write};

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
    /// A process that lives is attached to it.
    InUse,
    /// A service has made it and gives it away.
    Served,
    /// There is the socket of such a service, and nobody listens.
    NotServed,
    /// Its service takes connections and gives nothing.
    ServiceSilent,
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
            // What would steer a terminal isn't text either.
            for c in chunk.valid().chars() {
                f.write_char(if c.is_control() { '\u{fffd}' } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

/// What is wrong.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Fault::PathTooLong => {
                let most = PATH.saturating_sub(1);
                return write!(
                    f,
                    "the path is longer than {most} bytes, or a name in it too long"
                );
            }
            Fault::NoDirectory => "its directory is missing",
            Fault::Exists => "it exists already",
            Fault::Missing => "there is none",
            Fault::SymbolicLink => "it is a symbolic link, which is not followed",
            Fault::NotRegular => "it is not a regular file",
            Fault::WrongOwner { uid } => {
                return write!(f, "it belongs to user {uid}, who is neither you nor root");
            }
            Fault::OpenToAll { mode } => {
                return write!(f, "everybody may write it (mode {mode:o})");
            }
            Fault::Empty => "it is empty",
            Fault::Truncated { is, should } => {
                return write!(f, "it has {is} bytes and should have {should}");
            }
            Fault::NotATable => "it is not a lock table",
            Fault::OtherVersion { is, should } => {
                return write!(f, "it is of version {is}, this program's is {should}");
            }
            Fault::BadGeometry => "the sizes in its header are damaged",
            Fault::Replaced => "it was replaced while it was opened",
            Fault::NoSpace => "no space left for it (ENOSPC)",
            Fault::FileLimit => {
                "it would be larger than files may be here (RLIMIT_FSIZE, ulimit -f)"
            }
            Fault::NoMemory => {
                "it can't be mapped, memory is short or limited (RLIMIT_AS, ulimit -v)"
            }
            Fault::Permission => "permission denied",
            Fault::Full => "all its process entries are taken",
            Fault::Poisoned => "its contents are damaged",
            Fault::InUse => "a process that lives is attached to it",
            Fault::Served => "a service hands it out (pagefence tabled)",
            Fault::NotServed => "the service that hands it out (pagefence tabled) isn't running",
            Fault::ServiceSilent => {
                "the service that hands it out (pagefence tabled) doesn't answer"
            }
            Fault::Other(errno) => return write!(f, "{}", Errno::from_raw_os_error(errno)),
        })
    }
}

/// And what to do about it.
impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, fault) = (&self.path, &self.fault);
        write!(f, "lock table {p}: {fault}; ")?;
        match fault {
            Fault::PathTooLong
            | Fault::SymbolicLink
            | Fault::NotRegular
            | Fault::WrongOwner { .. }
            | Fault::NotATable
            | Fault::Permission
            | Fault::Other(_) => f.write_str("name another with --table"),
            Fault::NoDirectory => write!(f, "make it: mkdir -p {}", p.parent()),
            Fault::Exists => write!(
                f,
                "to make it anew, remove it when no fenced program runs: rm {p}"
            ),
            Fault::Missing => f.write_str("the first fenced program makes it"),
            Fault::OpenToAll { .. } => write!(f, "if it is yours: chmod o-w {p}"),
            Fault::Empty | Fault::Truncated { .. } | Fault::BadGeometry => {
                write!(f, "remove it when no fenced program runs: rm {p}")
            }
            Fault::OtherVersion { .. } | Fault::Poisoned => {
                write!(f, "stop the fenced programs, then remove it: rm {p}")
            }
            Fault::Replaced => f.write_str("try again"),
            Fault::InUse => f.write_str("stop the fenced programs first"),
            Fault::Served => write!(f, "stop that: systemctl stop pagefence-table; then rm {p}"),
            Fault::NotServed | Fault::ServiceSilent => write!(
                f,
                "start it anew: systemctl restart pagefence-table, or pagefence tabled --table {p}"
            ),
            Fault::NoSpace => f.write_str("free some, or name another with --table"),
            Fault::FileLimit => write!(
                f,
                "raise that limit, or make it where there is none: pagefence table create --table {p}"
            ),
            Fault::NoMemory => f.write_str(
                "raise the limit, or make a smaller table: pagefence table create --help",
            ),
            Fault::Full => write!(
                f,
                "stop some fenced programs, or all and make it larger: rm {p}, then pagefence table create --table {p} --processes N"
            ),
        }
    }
}

impl fmt::Debug for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.fault)
    }
}

impl core::error::Error for TableError {}
