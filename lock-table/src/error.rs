//! Why a table can't be used: one line that names the file, what is wrong, and the way out.

use core::ffi::CStr;
use core::fmt::{self, Write};

use kernel::errors::{self, Entry};
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

impl Fault {
    /// Where it stands in the catalogue.
    fn entry(self) -> &'static Entry {
        match self {
            Fault::PathTooLong => &errors::TABLE_PATH_TOO_LONG,
            Fault::NoDirectory => &errors::TABLE_NO_DIRECTORY,
            Fault::Exists => &errors::TABLE_EXISTS,
            Fault::Missing => &errors::TABLE_MISSING,
            Fault::SymbolicLink => &errors::TABLE_SYMBOLIC_LINK,
            Fault::NotRegular => &errors::TABLE_NOT_REGULAR,
            Fault::WrongOwner { .. } => &errors::TABLE_WRONG_OWNER,
            Fault::OpenToAll { .. } => &errors::TABLE_OPEN_TO_ALL,
            Fault::Empty => &errors::TABLE_EMPTY,
            Fault::Truncated { .. } => &errors::TABLE_TRUNCATED,
            Fault::NotATable => &errors::TABLE_NONE,
            Fault::OtherVersion { .. } => &errors::TABLE_OTHER_VERSION,
            Fault::BadGeometry => &errors::TABLE_BAD_GEOMETRY,
            Fault::Replaced => &errors::TABLE_REPLACED,
            Fault::NoSpace => &errors::TABLE_NO_SPACE,
            Fault::FileLimit => &errors::TABLE_FILE_LIMIT,
            Fault::NoMemory => &errors::TABLE_NO_MEMORY,
            // What the kernel says else is said in its own words; what to do is the same.
            Fault::Permission | Fault::Other(_) => &errors::TABLE_PERMISSION,
            Fault::Full => &errors::TABLE_FULL,
            Fault::Poisoned => &errors::TABLE_DAMAGED,
            Fault::InUse => &errors::TABLE_IN_USE,
            Fault::Served => &errors::TABLE_SERVED,
            Fault::NotServed => &errors::TABLE_NOT_SERVED,
            Fault::ServiceSilent => &errors::TABLE_SERVICE_SILENT,
        }
    }
}

/// What is wrong.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.entry();
        match self {
            Fault::Other(errno) => Errno::from_raw_os_error(*errno).fmt(f),
            Fault::PathTooLong => entry.what(&[&PATH.saturating_sub(1)]).fmt(f),
            Fault::WrongOwner { uid } => entry.what(&[uid]).fmt(f),
            Fault::OpenToAll { mode } => entry.what(&[&format_args!("{mode:o}")]).fmt(f),
            Fault::Truncated { is, should } => entry.what(&[is, should]).fmt(f),
            Fault::OtherVersion { is, should } => entry.what(&[is, should]).fmt(f),
            _ => entry.what(&[]).fmt(f),
        }
    }
}

/// And what to do about it.
impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p, fault) = (&self.path, &self.fault);
        let about = match fault {
            Fault::NoDirectory => p.parent(),
            _ => *p,
        };
        let entry = fault.entry();
        write!(
            f,
            "lock table {p}: {fault}; {}",
            entry.todo(&[&about, &about])
        )
    }
}

impl fmt::Debug for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.fault)
    }
}

impl core::error::Error for TableError {}
