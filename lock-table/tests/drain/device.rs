//! A real ext4 on a loop device that writes slowly for whoever is in a control group of the test's.
//!
//! The mount lives in a mount namespace of the calling thread, and the device goes with the mount, so that a test that
//! is killed leaves neither.

use std::ffi::CString;
use std::fs;
use std::io::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "pagefence-drain";
const IMAGE_BYTES: u64 = 64 << 20;
/// What the throttle lets through in a second.
pub const BYTES_PER_SECOND: u64 = 1 << 20;

/// Does it, or says what it said instead.
fn run(command: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(command).args(arguments).output();
    let done = done.map_err(|e| format!("{command}: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{command} {arguments:?}: {said}"))
}

/// This test's own name in a directory that others use too. What a killed one left there is removed.
fn own_place(parent: &Path, remove: impl Fn(&Path)) -> PathBuf {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|n| n.strip_prefix(NAME));
        let pid = of.and_then(|n| n.strip_prefix('-')?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path());
        }
    }
    parent.join(format!("{NAME}-{}", std::process::id()))
}

/// A control group that throttles writes to one device.
pub struct Throttle(PathBuf);

impl Throttle {
    /// `Err`: there is no such controller here.
    fn new(device: (u32, u32)) -> Result<Throttle, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
        let controller = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (Path::new(words.next()?), words.next()?);
            let rule = match kind {
                "cgroup" => "blkio.throttle.write_bps_device",
                "cgroup2" => "io.max",
                _ => return None,
            };
            // The second generation's controllers are for those below only when asked for.
            let has = if kind == "cgroup" {
                place.join(rule).exists()
            } else {
                fs::write(place.join("cgroup.subtree_control"), "+io").is_ok()
            };
            has.then(|| (place.to_owned(), rule))
        });
        let (parent, rule) =
            controller.ok_or("no control group throttles block devices (blkio, io.max)")?;
        let place = own_place(&parent, |stale| {
            let _ = fs::remove_dir(stale);
        });
        let failed = |e: Error| format!("{}: {e}", place.display());
        fs::create_dir(&place).map_err(failed)?;
        let throttle = Throttle(place.clone());
        let (major, minor) = device;
        let text = if rule == "io.max" {
            format!("{major}:{minor} wbps={BYTES_PER_SECOND}")
        } else {
            format!("{major}:{minor} {BYTES_PER_SECOND}")
        };
        fs::write(throttle.0.join(rule), text).map_err(failed)?;
        Ok(throttle)
    }

    /// Who writes "0" here is in it.
    pub fn entrance(&self) -> CString {
        super::common::c_path(&self.0.join("cgroup.procs"))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // A test that fails leaves a child in it.
        let left = fs::read_to_string(self.0.join("cgroup.procs"));
        for pid in left.unwrap_or_default().lines() {
            // SAFETY: nobody but our children can be in there.
            unsafe { libc::kill(pid.parse().unwrap(), libc::SIGKILL) };
        }
        // The last one may be on its way out, behind what it has to drain.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            super::common::sleep_ms(10);
        }
        eprintln!("{} can't be removed", self.0.display());
    }
}

pub struct Device {
    /// `loop7`.
    name: String,
    // These go in this order.
    pub throttle: Throttle,
    mounted: Mounted,
}

/// A directory that is removed in the end, and a mount in it.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", &self.0.join("mnt").to_string_lossy()]);
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Device {
    /// `Err`: it can't be had here, and why.
    pub fn new() -> Result<Device, String> {
        // SAFETY: this thread gets a mount namespace of its own, from which nothing goes out.
        let alone = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    std::ptr::null(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
        };
        if !alone {
            return Err(format!("a mount namespace: {}", Error::last_os_error()));
        }
        // In memory: a busy disk below would be slow in its own way.
        let dir = own_place(Path::new("/dev/shm"), |stale| {
            let _ = fs::remove_dir_all(stale);
        });
        let failed = |e: Error| format!("{}: {e}", dir.display());
        fs::create_dir(&dir).map_err(failed)?;
        let mounted = Mounted(dir.clone());
        let (image, mnt) = (dir.join("image"), dir.join("mnt"));
        fs::create_dir(&mnt).map_err(failed)?;
        let file = fs::File::create(&image).map_err(failed)?;
        file.set_len(IMAGE_BYTES).map_err(failed)?;
        let (image, mnt) = (image.to_string_lossy(), mnt.to_string_lossy());
        run(
            "mkfs.ext4",
            &[
                "-q",
                "-F",
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0",
                &image,
            ],
        )?;
        let device = run("losetup", &["--find", "--show", &image])?;
        // No commits of the journal's among the writes that are counted.
        let done = run("mount", &["-t", "ext4", "-o", "commit=600", &device, &mnt]);
        // From now on the device goes with the mount.
        let _ = run("losetup", &["-d", &device]);
        done?;
        let number = fs::metadata(&device).map_err(failed)?.rdev();
        let throttle = Throttle::new((libc::major(number), libc::minor(number)))?;
        Ok(Device {
            mounted,
            name: device.trim_start_matches("/dev/").to_owned(),
            throttle,
        })
    }

    /// A file on it.
    pub fn file(&self) -> PathBuf {
        self.mounted.0.join("mnt/file")
    }

    /// How many bytes it has written since it was made: done, not asked for.
    pub fn written(&self) -> u64 {
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.name)).unwrap();
        let sectors = stat.split_whitespace().nth(6).unwrap();
        512 * sectors.parse::<u64>().unwrap()
    }
}
