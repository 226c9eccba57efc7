//! What a file lies on, where that matters: layers, and filesystems that others use, too.

/// On layers (overlayfs): the pages are another file's, and neither the look at a writeback error nor
/// `sync_file_range` reaches them. In mixed use direct writes go through the cache, and fdatasync makes them durable.
pub const LAYERED: u32 = 1 << 20;
/// Where what was stored beyond the end of a file shows when the file is extended.
pub const KEEPS_TAIL: u32 = 1 << 22;
/// Behind it stand other hosts, or a server that may change it by itself.
pub const SHARED_WITH_OTHERS: u32 = 1 << 21;

/// The flags of a file on this filesystem.
pub fn flags(filesystem: &str) -> u32 {
    let own = match filesystem {
        "overlay" => LAYERED,
        "tmpfs" => KEEPS_TAIL,
        _ => 0,
    };
    let shared = match policy::is_shared_with_others(filesystem) {
        true => SHARED_WITH_OTHERS,
        false => 0,
    };
    own | shared
}
