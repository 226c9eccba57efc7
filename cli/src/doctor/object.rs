//! A program or library, as far as the doctor looks into it: what it needs, what it asks others for, what it has itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, ReadCache, elf};

pub type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<&'a File>>;

/// What one file says.
#[derive(Default)]
pub struct Loaded {
    pub path: PathBuf,
    /// Names of the libraries that it needs.
    pub needed: Vec<String>,
    /// Where it says they are, older and newer way.
    pub rpath: Vec<String>,
    pub runpath: Vec<String>,
    /// Names that it takes from others, and that it has for others.
    pub imports: BTreeSet<String>,
    pub exports: BTreeSet<String>,
    /// It finds its own functions before those of others (-Bsymbolic).
    pub is_symbolic: bool,
    pub calls: super::calls::Found,
}

impl Loaded {
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub fn imports_any<'a>(&self, of: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut all: Vec<&str> = of.into_iter().collect();
        all.retain(|name| self.imports.contains(*name));
        all
    }
}

/// Reads it, and its code if that is wanted. Err: what is wrong with it.
pub fn read(path: &Path, shown: &Path, code: bool) -> Result<Loaded, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let cache = ReadCache::new(&file);
    let elf = Elf::parse(&cache).map_err(|error| error.to_string())?;
    let mut loaded = Loaded {
        path: shown.to_owned(),
        ..Loaded::default()
    };
    for symbol in elf.dynamic_symbols() {
        let Ok(name) = symbol.name() else { continue };
        let set = match symbol.is_undefined() {
            true => &mut loaded.imports,
            false => &mut loaded.exports,
        };
        set.insert(name.to_owned());
    }
    dynamic(&elf, &mut loaded);
    if code {
        loaded.calls = super::calls::find(&elf);
    }
    Ok(loaded)
}

/// The names in the dynamic part.
fn dynamic(elf: &Elf, loaded: &mut Loaded) {
    let (endian, data) = (elf.endian(), elf.data());
    let Some(strings) = elf.section_by_name(".dynstr") else {
        return;
    };
    let Ok(strings) = strings.data() else { return };
    let text = |at: u64| {
        let rest = strings.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let Ok(headers) = elf.elf_header().program_headers(endian, data) else {
        return;
    };
    let entries = headers.iter().filter_map(|h| h.dynamic(endian, data).ok()?);
    for entry in entries.flatten() {
        let value = entry.d_val(endian);
        let list = |text: Option<String>| {
            let text = text.unwrap_or_default();
            text.split(':').map(str::to_owned).collect::<Vec<_>>()
        };
        match u32::try_from(entry.d_tag(endian)).unwrap_or(0) {
            elf::DT_NEEDED => loaded.needed.extend(text(value)),
            elf::DT_RPATH => loaded.rpath = list(text(value)),
            elf::DT_RUNPATH => loaded.runpath = list(text(value)),
            elf::DT_SYMBOLIC => loaded.is_symbolic = true,
            elf::DT_FLAGS => loaded.is_symbolic |= value & u64::from(elf::DF_SYMBOLIC) != 0,
            _ => {}
        }
    }
}
