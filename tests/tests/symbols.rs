//! Is every door hooked? A function that libc exports under a sibling's name (`64`, `v2`, `__x`,
//! `__x_chk`, `__x_2`) of a hooked one must be hooked too, or have a reason in `unhooked.toml`.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolIndex, SymbolKind};
use pagefence_tests::fence::found;
use pagefence_tests::{artefacts, skip};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The functions that a shared library defines for others. Those of version `GLIBC_PRIVATE` are
/// glibc's own: no program can be linked to them.
fn exported(path: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = ElfFile64::<Endianness>::parse(&*bytes)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let versions = file
        .elf_section_table()
        .versions(file.endian(), &*bytes)
        .expect("ELF versions");
    let private = |symbol: SymbolIndex| {
        let table = versions.as_ref()?;
        let version = table
            .version(table.version_index(file.endian(), symbol))
            .ok()??;
        Some(version.name() == b"GLIBC_PRIVATE")
    };
    let symbols = file
        .dynamic_symbols()
        .filter(|s| s.is_definition() && s.kind() == SymbolKind::Text);
    let public = symbols.filter(|s| private(s.index()) != Some(true));
    public
        .filter_map(|s| s.name().ok().map(str::to_owned))
        .collect()
}

/// What a library beside libc exports; none if it isn't installed.
fn exported_by(library: &str) -> Option<BTreeSet<String>> {
    let path = artefacts::libc().with_file_name(library);
    if !path.exists() {
        skip(&format!("{} is not there", path.display()));
        return None;
    }
    Some(exported(&path))
}

fn reasons() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("unhooked.toml");
    let text = std::fs::read_to_string(&file).expect("unhooked.toml");
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A call's name without the marks of a sibling: `__pread64_chk` is `pread`.
fn stem(symbol: &str) -> &str {
    let mut name = symbol.trim_start_matches('_');
    for prefix in ["libc_", "IO_"] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    while let Some(shorter) = without_mark(name) {
        name = shorter;
    }
    name
}

fn without_mark(name: &str) -> Option<&str> {
    // `preadv64v2` is `preadv64` again; `preadv2` is `preadv` again, whose `v` is its own.
    if name.ends_with("v2") {
        let mark = if name.ends_with("64v2") { "v2" } else { "2" };
        return name.strip_suffix(mark);
    }
    let marks = ["_chk", "_2", "_nocancel", "_time64", "64"];
    marks
        .iter()
        .find_map(|mark| name.strip_suffix(mark))
        .filter(|rest| !rest.is_empty())
}

fn siblings<'a>(hook: &str, libc: &'a BTreeSet<String>) -> Vec<&'a String> {
    libc.iter()
        .filter(|symbol| symbol.as_str() != hook && stem(symbol) == stem(hook))
        .collect()
}

#[test]
fn every_sibling_has_a_hook_or_a_reason() {
    let (hooks, libc, reasons) = (
        exported(&found(artefacts::library())),
        exported(&artefacts::libc()),
        reasons(),
    );
    let mut missing = BTreeMap::new();
    for hook in hooks.intersection(&libc) {
        for sibling in siblings(hook, &libc) {
            if !hooks.contains(sibling) && !reasons.contains_key(sibling) {
                missing.insert(sibling, hook);
            }
        }
    }
    let lines: Vec<_> = missing
        .iter()
        .map(|(symbol, hook)| format!("  {symbol} (sibling of {hook})"))
        .collect();
    assert!(
        lines.is_empty(),
        "exported by libc, neither hooked nor in unhooked.toml:\n{}",
        lines.join("\n")
    );
}

/// `fork` is not among them: `pthread_atfork` sees it, by whatever name it is called.
#[test]
fn the_calls_of_the_contract_are_hooked() {
    let hooks = exported(&found(artefacts::library()));
    let wanted = "open openat creat close close_range closefrom dup dup2 dup3 fcntl read write pread \
        pwrite readv writev preadv pwritev preadv2 pwritev2 mmap munmap mremap mprotect pkey_mprotect \
        remap_file_pages truncate ftruncate fallocate posix_fallocate fsync fdatasync sync_file_range \
        vfork execve execv execvp execvpe execveat fexecve posix_spawn posix_spawnp syscall fopen \
        fclose freopen popen pclose opendir closedir mkstemp tmpfile socket accept accept4 pipe pipe2 \
        eventfd recvmsg socketpair __open_2 __openat_2 __read_chk __pread_chk open64 openat64 pread64 \
        pwrite64 preadv64v2 pwritev64v2";
    let missing: Vec<_> = wanted
        .split_whitespace()
        .filter(|name| !hooks.contains(*name))
        .collect();
    assert!(missing.is_empty(), "not hooked: {missing:?}");
}

#[test]
fn reasons_are_still_needed() {
    let (hooks, libc) = (
        exported(&found(artefacts::library())),
        exported(&artefacts::libc()),
    );
    for symbol in reasons().keys() {
        assert!(
            libc.contains(symbol),
            "{symbol} is in unhooked.toml, but libc doesn't export it"
        );
        assert!(
            !hooks.contains(symbol),
            "{symbol} is in unhooked.toml, but it is hooked"
        );
    }
}

/// What the library exports beyond hooks would take the place of a program's own symbols.
#[test]
fn nothing_else_is_exported() {
    let (hooks, libc) = (
        exported(&found(artefacts::library())),
        exported(&artefacts::libc()),
    );
    // libaio's functions are hooked to say that they are not covered, liburing's to refuse its rings.
    let (Some(aio), Some(uring)) = (exported_by("libaio.so.1"), exported_by("liburing.so.2"))
    else {
        return;
    };
    // liburing has this one since 2.5, which may be newer than the one here.
    let newer = ["io_uring_queue_init_mem"];
    // Asked by AddressSanitizer's runtime; a program's own comes first.
    let asked = ["__asan_default_options"];
    let foreign: Vec<_> = hooks
        .difference(&libc)
        .filter(|name| !aio.contains(*name) && !uring.contains(*name))
        .filter(|name| !newer.contains(&name.as_str()) && !asked.contains(&name.as_str()))
        .collect();
    assert!(
        foreign.is_empty(),
        "exported, but no function of libc, libaio or liburing: {foreign:?}"
    );
}

/// Whatever liburing exports is hooked, or works on a ring that one of the hooked functions has made.
#[test]
fn liburing_has_no_other_door() {
    const ON_A_RING: &str = "__io_uring_get_cqe __io_uring_sqring_wait io_uring_free_probe io_uring_get_events \
        io_uring_get_probe_ring io_uring_get_sqe io_uring_mlock_size io_uring_mlock_size_params \
        io_uring_peek_batch_cqe io_uring_queue_exit io_uring_ring_dontfork io_uring_submit \
        io_uring_submit_and_get_events io_uring_submit_and_wait io_uring_submit_and_wait_timeout \
        io_uring_wait_cqe_timeout io_uring_wait_cqes io_uring_close_ring_fd io_uring_memory_size \
        io_uring_memory_size_params io_uring_resize_rings io_uring_clone_buffers io_uring_clone_buffers_offset \
        io_uring_setup_buf_ring io_uring_free_buf_ring io_uring_enable_rings io_uring_wait_cqes_min_timeout \
        io_uring_submit_and_wait_min_timeout io_uring_submit_and_wait_reg io_uring_set_iowait io_uring_major_version \
        io_uring_minor_version io_uring_check_version io_uring_buf_ring_head";
    let Some(uring) = exported_by("liburing.so.2") else {
        return;
    };
    let hooks = exported(&found(artefacts::library()));
    let known: BTreeSet<&str> = ON_A_RING.split_whitespace().collect();
    let registers = |name: &str| {
        name.starts_with("io_uring_register_") || name.starts_with("io_uring_unregister_")
    };
    let doors: Vec<_> = uring
        .iter()
        .filter(|name| !hooks.contains(*name) && !known.contains(name.as_str()))
        .filter(|name| !registers(name))
        .collect();
    assert!(
        doors.is_empty(),
        "does one of these make a ring, or does it need one? {doors:?}"
    );
}

#[test]
fn stems() {
    for (symbol, bare) in [
        ("pread64", "pread"),
        ("__pread64_chk", "pread"),
        ("__open64_2", "open"),
        ("__open", "open"),
        ("preadv64v2", "preadv"),
        ("preadv2", "preadv"),
        ("dup2", "dup2"),
        ("__dup2", "dup2"),
        ("__libc_fork", "fork"),
    ] {
        assert_eq!(stem(symbol), bare, "{symbol}");
    }
}
