//! How much each figure may cost at most: what Pagefence asks of itself.

/// Times as long as bare. None: no target.
pub fn of(what: &str, name: &str, filesystem: &str, mixed: bool) -> Option<f64> {
    match what {
        "io" => io(name, filesystem, mixed),
        "aio" => aio(name, mixed),
        "programs" => program(name, mixed),
        _ => None,
    }
}

fn io(name: &str, filesystem: &str, mixed: bool) -> Option<f64> {
    let buffered = ["pread-", "pwrite-", "read-"];
    match name {
        "open-read-close" | "fork-wait" => Some(1.10),
        "spawn-true" => Some(1.15),
        _ if !mixed => Some(1.03),
        _ if buffered.iter().any(|call| name.starts_with(call)) => Some(1.08),
        // With no device, all that the library does shows.
        "direct-read-4k" if filesystem == "tmpfs" => Some(1.08),
        "direct-write-4k" if filesystem == "tmpfs" => Some(1.5),
        _ => None,
    }
}

fn aio(name: &str, mixed: bool) -> Option<f64> {
    match name.ends_with("-32") {
        true if mixed => Some(1.10),
        true => Some(1.03),
        false => None,
    }
}

fn program(name: &str, mixed: bool) -> Option<f64> {
    let starts_others = ["bash-", "git-"].iter().any(|of| name.starts_with(of));
    match starts_others {
        _ if mixed => None,
        true => Some(1.10),
        false => Some(1.02),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own() {
        assert_eq!(of("io", "pread-4k", "ext4", false), Some(1.03));
        assert_eq!(of("io", "pread-4k", "ext4", true), Some(1.08));
        assert_eq!(of("io", "direct-write-4k", "ext4", true), None);
        assert_eq!(of("io", "direct-write-4k", "tmpfs", true), Some(1.5));
        assert_eq!(of("io", "spawn-true", "tmpfs", false), Some(1.15));
        assert_eq!(of("aio", "aio-read-32", "ext4", true), Some(1.10));
        assert_eq!(of("aio", "aio-read-32-each", "ext4", true), None);
        assert_eq!(of("programs", "git-gc", "ext4", false), Some(1.10));
        assert_eq!(of("programs", "tar", "ext4", false), Some(1.02));
        assert_eq!(of("programs", "rocksdb-fill", "ext4", true), None);
        assert_eq!(of("past", "read-4k", "ext4", false), None);
    }
}
