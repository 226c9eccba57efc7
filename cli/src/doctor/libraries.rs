//! The libraries that a program is loaded with, found as the loader finds them, without running it.

use std::collections::{HashMap, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::library;

use super::diagnosis::Section;
use super::object::{self, Loaded};

/// A program and all that it needs; and names that nothing was found for.
pub struct Closure {
    pub all: Vec<Loaded>,
    pub missing: Vec<String>,
}

/// What every process has, whose calls come in by name: not read for its own.
pub fn is_libc(name: &str) -> bool {
    let stem = name.split(".so").next().unwrap_or(name);
    matches!(
        stem,
        "libc" | "libpthread" | "libdl" | "librt" | "libm" | "libpagefence"
    ) || stem.starts_with("ld-linux")
        || stem.starts_with("libc-2.")
}

pub fn closure(program: &Path) -> Result<Closure, String> {
    let cache = Cache::read(Path::new("/etc/ld.so.cache"));
    let first = object::read(program, program, true)?;
    let mut closure = Closure {
        all: Vec::new(),
        missing: Vec::new(),
    };
    let mut seen: Vec<String> = Vec::new();
    let mut queue = VecDeque::new();
    let enqueue = |of: &Loaded, rpath: &[String], queue: &mut VecDeque<_>| {
        let mut inherited = if of.runpath.is_empty() {
            of.rpath.clone()
        } else {
            Vec::new()
        };
        inherited.extend_from_slice(rpath);
        for name in &of.needed {
            queue.push_back((name.clone(), places(of, &inherited), inherited.clone()));
        }
    };
    enqueue(&first, &[], &mut queue);
    closure.all.push(first);
    while let Some((name, places, rpath)) = queue.pop_front() {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name.clone());
        let Some(path) = find(&name, &places, &cache) else {
            closure.missing.push(name);
            continue;
        };
        if let Ok(library) = object::read(&path, &path, !is_libc(&name)) {
            enqueue(&library, &rpath, &mut queue);
            closure.all.push(library);
        }
    }
    Ok(closure)
}

/// Where the libraries that a file needs are looked for before the system's own places.
fn places(of: &Loaded, rpath: &[String]) -> Vec<PathBuf> {
    let origin = of.path.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let variable = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let by_variable = variable.split([':', ';']).map(str::to_owned);
    let all = rpath.iter().cloned().chain(by_variable);
    all.chain(of.runpath.iter().cloned())
        .filter(|place| !place.is_empty())
        .map(|place| {
            place
                .replace("${ORIGIN}", &origin)
                .replace("$ORIGIN", &origin)
                .into()
        })
        .collect()
}

fn find(name: &str, places: &[PathBuf], cache: &Cache) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let mut beside = places.iter().map(|place| place.join(name));
    let system = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(Path::new);
    beside
        .find(|path| path.exists())
        .or_else(|| cache.0.get(name).cloned())
        .or_else(|| {
            system
                .iter()
                .map(|place| place.join(name))
                .find(|path| path.exists())
        })
}

/// What ldconfig(8) has found: the path of each library of this architecture.
struct Cache(HashMap<String, PathBuf>);

impl Cache {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const OWN: u32 = if cfg!(target_arch = "aarch64") {
        0x0a03
    } else {
        0x0303
    };

    fn read(path: &Path) -> Cache {
        let bytes = std::fs::read(path).unwrap_or_default();
        Cache(Cache::parse(&bytes).unwrap_or_default())
    }

    /// The newer form, which may stand behind the older.
    fn parse(bytes: &[u8]) -> Option<HashMap<String, PathBuf>> {
        let magic = Cache::MAGIC;
        let at = bytes
            .windows(magic.len())
            .position(|there| there == magic)?;
        let bytes = bytes.get(at..)?;
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let text = |at: usize| {
            let rest = bytes.get(at..)?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            String::from_utf8(rest[..end].to_vec()).ok()
        };
        let mut all = HashMap::new();
        for n in 0..word(20)? as usize {
            let entry = 48 + n * 24;
            let (flags, name, path) = (word(entry)?, word(entry + 4)?, word(entry + 8)?);
            let hwcap = word(entry + 16)? | word(entry + 20)?;
            if flags == Cache::OWN && hwcap == 0 {
                let path = PathBuf::from(text(path as usize)?);
                all.entry(text(name as usize)?).or_insert(path);
            }
        }
        Some(all)
    }
}

/// Others that are preloaded, and in which order they stand.
pub fn preloads(section: &mut Section) {
    let variable = std::env::var_os(library::PRELOAD).unwrap_or_default();
    let file = std::fs::read("/etc/ld.so.preload").unwrap_or_default();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b':' | b'\n' | b'\t');
    let list = |bytes: &[u8]| {
        let all = bytes.split(is_blank).filter(|name| !name.is_empty());
        let others = all.filter(|name| !name.ends_with(b"libpagefence.so"));
        others
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect::<Vec<_>>()
    };
    let behind = list(variable.as_bytes());
    if !behind.is_empty() {
        section.note(
            "preloads",
            format_args!("preloaded behind ours (`pagefence run` puts ours first): {}", behind.join(", ")),
            "what these do with a call comes after the fence; what they do by system calls of their own is not seen",
        );
    }
    let before = list(&file);
    if !before.is_empty() {
        section.note(
            "preloads",
            format_args!(
                "/etc/ld.so.preload has libraries for every program, behind LD_PRELOAD: {}",
                before.join(", ")
            ),
            "",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_loaded_with_libc() {
        let own = std::fs::read_link("/proc/self/exe").unwrap();
        let closure = closure(&own).unwrap();
        assert!(closure.missing.is_empty(), "{:?}", closure.missing);
        assert!(
            closure
                .all
                .iter()
                .any(|library| library.name() == "libc.so.6")
        );
    }

    #[test]
    fn libc_is_known_by_its_names() {
        for name in [
            "libc.so.6",
            "ld-linux-x86-64.so.2",
            "libpthread.so.0",
            "libc-2.31.so",
        ] {
            assert!(is_libc(name), "{name}");
        }
        assert!(!is_libc("libcrypto.so.3") && !is_libc("libmariadb.so.3"));
    }
}
