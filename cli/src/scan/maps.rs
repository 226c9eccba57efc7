//! Lines of `/proc/PID/maps`.

use super::processes::Mapping;

/// `start-end perms offset major:minor inode   path`, of a file.
pub struct Line<'a> {
    pub address: &'a str,
    pub rights: &'a [u8],
    /// In the file, in bytes.
    pub offset: u64,
    pub device: u64,
    pub inode: u64,
    pub path: &'a [u8],
    /// Device, inode and path: the same for mappings of one file that stand beside each other.
    pub file: &'a [u8],
}

/// Of `start-end`: the first address, and the first one behind it.
pub fn bounds(address: &str) -> Option<(usize, usize)> {
    let (start, end) = address.split_once('-')?;
    let hex = |text| usize::from_str_radix(text, 16).ok();
    Some((hex(start)?, hex(end)?))
}

impl<'a> Line<'a> {
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let (address, rights) = (words.next()?, words.next()?);
        let (offset, file) = (words.next()?, words.next()?);
        let mut words = file.splitn(3, |byte| *byte == b' ');
        let (device, inode) = (words.next()?, words.next()?);
        if inode == b"0" {
            return None;
        }
        let path = words.next()?.trim_ascii_start();
        let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
        let hex = |text| u32::from_str_radix(text, 16).ok();
        Some(Line {
            address: std::str::from_utf8(address).ok()?,
            rights,
            offset: u64::from_str_radix(std::str::from_utf8(offset).ok()?, 16).ok()?,
            device: rustix::fs::makedev(hex(major)?, hex(minor)?),
            inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
            path,
            file,
        })
    }

    /// As map_files has it: without the zeros in front.
    pub fn link(&self) -> String {
        let short = |text: &str| match text.trim_start_matches('0') {
            "" => "0".to_owned(),
            rest => rest.to_owned(),
        };
        let (start, end) = self.address.split_once('-').unwrap_or((self.address, ""));
        format!("{}-{}", short(start), short(end))
    }

    pub fn is_shared(&self) -> bool {
        self.rights.get(3) == Some(&b's')
    }

    /// The first address, and the first one behind it.
    pub fn bounds(&self) -> Option<(usize, usize)> {
        bounds(self.address)
    }

    pub fn mapping(&self) -> Mapping {
        Mapping {
            address: self.address.to_owned(),
            shared: self.is_shared(),
            writable: self.rights.get(1) == Some(&b'w'),
            touched_kib: None,
            dirty_kib: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = b"00400000-00452000 rw-s 00000000 08:02 173521      /usr/my file (deleted)";
        let line = Line::parse(line).expect("a file");
        assert_eq!(
            (line.inode, line.path),
            (173521, b"/usr/my file (deleted)".as_slice())
        );
        assert_eq!(line.link(), "400000-452000");
        assert!(line.mapping().shared && line.mapping().writable);
        assert!(Line::parse(b"7f00-7f01 rw-p 00000000 00:00 0          [heap]").is_none());
        assert!(Line::parse(b"7f00-7f01 rw-p 00000000 00:00 0 ").is_none());
        assert!(Line::parse(b"").is_none());
    }
}
