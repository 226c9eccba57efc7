//! What is looked for: a file, whatever lies under a directory, or on a block device.

use kernel::errors;
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use super::mounts::{Mount, Mounts, Place};
use super::seen::{self, Id, Seen};
use crate::explain::filesystem_of;
use crate::failure::{Failure, USAGE};
use crate::say::Shown;

#[derive(Clone)]
enum What {
    File(Id),
    Under(Under),
    Device(Id),
}

/// Beneath a directory.
#[derive(Clone)]
struct Under {
    path: PathBuf,
    /// It, and what is mounted beneath it.
    places: Vec<Place>,
    /// What `stat` says that it is on.
    device: u64,
    /// What is found by walking through it: for what can't be known by its path.
    walked: Arc<OnceLock<HashSet<Id>>>,
}

/// A descriptor or a mapping, as far as was asked.
pub struct Candidate<'a> {
    pub seen: Seen,
    pub namespace: u64,
    pub process: u32,
    pub path: &'a dyn Fn() -> Option<Vec<u8>>,
}

/// Who looks beside others reads for himself, and walks for all.
#[derive(Clone)]
pub struct Targets {
    all: Vec<What>,
    /// Of all namespaces: a number stands for one mount. A process may have a descriptor on another one's.
    mounts: Mounts,
    /// The namespaces that were read.
    namespaces: HashSet<u64>,
    /// Mounts of which it is known whether they are of a device.
    on_device: HashMap<(u64, u64), bool>,
}

impl Targets {
    pub fn new(paths: &[PathBuf]) -> Result<Targets, Failure> {
        let mounts = Mounts::read("self");
        let all: Result<Vec<_>, _> = paths.iter().map(|path| resolve(path, &mounts)).collect();
        Ok(Targets {
            all: all?,
            mounts,
            namespaces: HashSet::from([namespace("self")]),
            on_device: HashMap::new(),
        })
    }

    /// These files.
    pub fn of(ids: impl IntoIterator<Item = Id>) -> Targets {
        Targets {
            all: ids.into_iter().map(What::File).collect(),
            mounts: Mounts(HashMap::new()),
            namespaces: HashSet::new(),
            on_device: HashMap::new(),
        }
    }

    /// If it is one.
    pub fn only_file(&self) -> Option<Id> {
        match self.all.as_slice() {
            [What::File(id) | What::Device(id)] => Some(*id),
            _ => None,
        }
    }

    /// Whether paths and mounts matter, or only what file it is.
    pub fn asks_for_places(&self) -> bool {
        !self.all.iter().all(|what| matches!(what, What::File(_)))
    }

    pub fn contains(&mut self, candidate: &Candidate) -> bool {
        let id = candidate.seen.id;
        let known =
            |what: &What| matches!(what, What::File(known) | What::Device(known) if *known == id);
        if self.all.iter().any(known) {
            return true;
        }
        if !self.asks_for_places() {
            return false;
        }
        self.know_mount(candidate);
        let (mounts, on_device) = (&self.mounts, &mut self.on_device);
        self.all.iter().any(|what| match what {
            What::File(_) => false,
            What::Under(under) => under.contains(candidate, mounts),
            What::Device(device) => {
                let (mount, device) = (candidate.seen.mount, device.device);
                let known = on_device.entry((mount, device));
                !id.is_device
                    && (id.device == device
                        || *known.or_insert_with(|| is_mount_of(mounts, mount, device)))
            }
        })
    }

    fn know_mount(&mut self, candidate: &Candidate) {
        let is_known = self.mounts.0.contains_key(&candidate.seen.mount);
        if !is_known && self.namespaces.insert(candidate.namespace) {
            let theirs = Mounts::read(&candidate.process.to_string());
            for (number, mount) in theirs.0 {
                self.mounts.0.entry(number).or_insert(mount);
            }
        }
    }

    /// What is mounted may have changed.
    pub fn refresh(&mut self) {
        self.mounts = Mounts::read("self");
        self.namespaces = HashSet::from([namespace("self")]);
        self.on_device.clear();
        for what in &mut self.all {
            if let What::Under(under) = what {
                under.walked = Arc::default();
            }
        }
    }

    /// Paths by which a watch reaches them: each, and whether its whole filesystem is meant.
    pub fn watched(&self, paths: &[PathBuf]) -> Vec<(PathBuf, bool)> {
        let mut all = Vec::new();
        for (what, path) in self.all.iter().zip(paths) {
            all.push((path.clone(), matches!(what, What::Under(_))));
            let is_meant = |number: u64, mount: &Mount| match what {
                What::File(_) => false,
                What::Under(under) => {
                    !policy::is_kernel_filesystem(&mount.kind)
                        && mount.point().starts_with(&under.path)
                }
                What::Device(id) => is_mount_of(&self.mounts, number, id.device),
            };
            let mounts = self.mounts.0.iter();
            let inner = mounts.filter(|(number, mount)| is_meant(**number, mount));
            all.extend(inner.map(|(_, mount)| (mount.point().to_owned(), true)));
        }
        all
    }
}

/// The number of a process's mount namespace; 0: it can't be known.
pub fn namespace(process: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let link = format!("/proc/{process}/ns/mnt");
    std::fs::metadata(link).map_or(0, |found| found.ino())
}

fn is_mount_of(mounts: &Mounts, mount: u64, device: u64) -> bool {
    mounts.0.get(&mount).is_some_and(|mount| {
        mount.device == device
            || seen::at(CWD, mount.source())
                .is_ok_and(|seen| seen.is_some_and(|s| s.id.is_device && s.id.device == device))
    })
}

fn resolve(given: &Path, mounts: &Mounts) -> Result<What, Failure> {
    use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    let shown = given.shown();
    let failed = |error: std::io::Error| match error.kind() {
        NotFound | NotADirectory | InvalidInput => {
            Failure::new(USAGE, format!("{shown}: {error}"), "")
        }
        _ => Failure::of(&errors::NOT_LOOKED_AT, &[&shown, &error]),
    };
    let path = std::fs::canonicalize(given).map_err(failed)?;
    if path.is_dir() {
        let (flags, mask) = (
            AtFlags::empty(),
            StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
        );
        let found = statx(CWD, &path, flags, mask).map_err(|error| failed(error.into()))?;
        let name = path.as_os_str().as_bytes();
        let mut places = mounts.beneath(name);
        places.extend(mounts.place(found.stx_mnt_id, name));
        return Ok(What::Under(Under {
            path,
            places,
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            walked: Arc::default(),
        }));
    }
    match seen::at(CWD, &path).map_err(|error| failed(error.into()))? {
        Some(seen) if seen.id.is_device => Ok(What::Device(seen.id)),
        Some(seen) => Ok(What::File(seen.id)),
        None => Err(Failure::of(&errors::NO_CACHE, &[&shown])),
    }
}

impl Under {
    fn contains(&self, candidate: &Candidate, mounts: &Mounts) -> bool {
        let seen = &candidate.seen;
        let mount = mounts.0.get(&seen.mount);
        if let Some(mount) = mount {
            if !self.places.iter().any(|place| place.device == mount.device) {
                return false;
            }
            let path = (candidate.path)();
            let place = path.and_then(|path| mounts.place(seen.mount, &path));
            let inside = |place: &Place| self.places.iter().any(|own| own.contains(place));
            match place {
                Some(place) if inside(&place) => return true,
                // It is elsewhere, and has no other name.
                Some(_) if seen.links <= 1 => return false,
                _ => {}
            }
        }
        // A path that can't be followed from here, or another name of a file that has one inside. What has no name at all
        // is nowhere, also on mounts of the kernel's own (memfd).
        let may_be = seen.links > 0 && (mount.is_some() || seen.id.device == self.device);
        may_be && self.walked().contains(&seen.id)
    }

    fn walked(&self) -> &HashSet<Id> {
        self.walked.get_or_init(|| {
            let mut all = HashSet::new();
            let mut directories = vec![self.path.clone()];
            while let Some(directory) = directories.pop() {
                if filesystem_of(&directory).is_ok_and(policy::is_kernel_filesystem) {
                    continue;
                }
                for entry in std::fs::read_dir(&directory)
                    .into_iter()
                    .flatten()
                    .flatten()
                {
                    match entry.file_type() {
                        Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                        Ok(kind) if kind.is_file() => {
                            all.extend(
                                seen::at(CWD, entry.path())
                                    .ok()
                                    .flatten()
                                    .map(|seen| seen.id),
                            );
                        }
                        _ => {}
                    }
                }
            }
            all
        })
    }
}
