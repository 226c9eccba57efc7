//! What is mounted where in a mount namespace: so that a path in one is known in another by where it lies in its filesystem.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::makedev;

#[derive(Clone)]
pub struct Mount {
    /// Of the filesystem: what `stat` says of files may be another (btrfs).
    pub device: u64,
    /// The directory of the filesystem that is mounted, and where.
    pub root: Vec<u8>,
    pub point: Vec<u8>,
    pub kind: String,
    pub source: Vec<u8>,
}

/// By number.
#[derive(Clone)]
pub struct Mounts(pub HashMap<u64, Mount>);

/// A place in a filesystem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub device: u64,
    pub within: Vec<u8>,
}

impl Mounts {
    /// Of this process.
    pub fn read(process: &str) -> Mounts {
        let text = std::fs::read(format!("/proc/{process}/mountinfo")).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n');
        Mounts(lines.filter_map(parse).collect())
    }

    /// Where a path lies that goes through this mount. None: the mount isn't one of these, or the path is of another root.
    pub fn place(&self, mount: u64, path: &[u8]) -> Option<Place> {
        let mount = self.0.get(&mount)?;
        let rest = below(path, &mount.point)?;
        Some(Place {
            device: mount.device,
            within: join(&mount.root, rest),
        })
    }

    /// All mounts at this path or beneath it, as places.
    pub fn beneath(&self, path: &[u8]) -> Vec<Place> {
        let all = self.0.values();
        let inner = all.filter(|mount| below(&mount.point, path).is_some());
        inner
            .filter(|mount| !policy::is_kernel_filesystem(&mount.kind))
            .map(|mount| Place {
                device: mount.device,
                within: mount.root.clone(),
            })
            .collect()
    }
}

impl Place {
    pub fn contains(&self, other: &Place) -> bool {
        self.device == other.device && below(&other.within, &self.within).is_some()
    }
}

/// What of `path` comes behind `above`, with the slash; None: it isn't beneath it.
fn below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    let rest = path.strip_prefix(above)?;
    (rest.is_empty() || rest.first() == Some(&b'/')).then_some(rest)
}

fn join(root: &[u8], rest: &[u8]) -> Vec<u8> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    [root, rest].concat()
}

/// `36 35 98:0 /root /point options optional... - kind source options`
fn parse(line: &[u8]) -> Option<(u64, Mount)> {
    let mut words = line.split(|byte| *byte == b' ');
    let number = text(words.next()?)?.parse().ok()?;
    let (major, minor) = text(words.nth(1)?)?.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    let (root, point) = (plain(words.next()?), plain(words.next()?));
    let mut behind = words.skip_while(|word| *word != b"-").skip(1);
    let (kind, source) = (text(behind.next()?)?.to_owned(), plain(behind.next()?));
    let mount = Mount {
        device,
        root,
        point,
        kind,
        source,
    };
    Some((number, mount))
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

/// The kernel writes blanks, newlines and backslashes in octal.
fn plain(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [byte, tail @ ..] = rest {
        let escaped = (*byte == b'\\').then(|| tail.get(..3)).flatten();
        let octal = escaped
            .and_then(text)
            .and_then(|t| u8::from_str_radix(t, 8).ok());
        out.push(octal.unwrap_or(*byte));
        rest = match octal {
            Some(_) => &tail[3..],
            None => tail,
        };
    }
    out
}

impl Mount {
    pub fn point(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.point))
    }

    pub fn source(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_place_in_the_filesystem() {
        let line = br"44 1 0:35 /@vol /srv/my\040data rw shared:1 - btrfs /dev/sda rw,space";
        let (number, mount) = parse(line).expect("a mount");
        assert_eq!(
            (number, mount.kind.as_str(), mount.source()),
            (44, "btrfs", Path::new("/dev/sda"))
        );
        let mounts = Mounts(HashMap::from([(number, mount)]));
        let place = mounts.place(44, b"/srv/my data/a/f").expect("a place");
        assert_eq!(
            (place.device, place.within.as_slice()),
            (makedev(0, 35), b"/@vol/a/f".as_slice())
        );
        assert!(mounts.place(44, b"/srv/my datas/f").is_none());
        let directory = Place {
            device: makedev(0, 35),
            within: b"/@vol/a".to_vec(),
        };
        assert!(directory.contains(&place));
        let other = Place {
            within: b"/@vol/ab".to_vec(),
            ..directory.clone()
        };
        assert!(!directory.contains(&other));
        assert_eq!(mounts.beneath(b"/").len(), 1);
    }
}
