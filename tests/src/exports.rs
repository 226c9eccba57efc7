//! What shared libraries define for others.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;
use std::path::Path;

/// The functions that a shared library defines for others, and the oldest version, as (major, minor), that it gives each.
/// Those of version `GLIBC_PRIVATE` are glibc's own: no program can be linked to them.
pub fn versions(path: &Path) -> BTreeMap<String, (u32, u32)> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = ElfFile64::<Endianness>::parse(&*bytes)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let versions = file
        .elf_section_table()
        .versions(file.endian(), &*bytes)
        .expect("ELF versions");
    let symbols = file
        .dynamic_symbols()
        .filter(|s| s.is_definition() && s.kind() == SymbolKind::Text);
    let mut all = BTreeMap::new();
    for symbol in symbols {
        let version = versions.as_ref().and_then(|table| {
            let index = table.version_index(file.endian(), symbol.index());
            table.version(index).ok()?
        });
        let version = version.map_or("", |v| std::str::from_utf8(v.name()).expect("ASCII"));
        if version == "GLIBC_PRIVATE" {
            continue;
        }
        let version = number(version.trim_start_matches("GLIBC_"));
        let name = symbol.name().expect("a name").to_owned();
        let oldest = all.entry(name).or_insert(version);
        *oldest = version.min(*oldest);
    }
    all
}

/// `2.2.5`: (2, 2).
pub fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
