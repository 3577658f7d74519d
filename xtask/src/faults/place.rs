//! Where commands run, so that everything that they leave is seen: folders of their own, and a BPF file system that nobody else has.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;
use tempfile::TempDir;

/// Where pins are made. The file system is empty, and is gone with this process, however that ends.
const BPF: &str = "/sys/fs/bpf";

/// For all commands.
pub(crate) struct Place {
    folder: TempDir,
    next: AtomicU64,
}

/// For one command.
pub(crate) struct Own {
    /// Which command it is, in this process.
    pub(crate) number: u64,
    /// Its folder for temporary files.
    pub(crate) temporary: PathBuf,
    /// What strace and the command write.
    pub(crate) notes: PathBuf,
    /// The folder that it pins to, which is not made.
    pub(crate) pin: PathBuf,
}

impl Place {
    /// Takes this thread, and those that it starts, out of the machine's mount namespace. Files are made beside `arenaq`, on the
    /// file system of the build: the hook of ext4 sees none elsewhere.
    pub(crate) fn new(arenaq: &Path) -> anyhow::Result<Place> {
        // SAFETY: unsharing CLONE_NEWNS keeps file descriptors as they are.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
            .context("making a mount namespace, which root may")?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .context("making mounts private")?;
        mount("bpf", BPF, "bpf", MountFlags::empty(), None).with_context(|| format!("mounting {BPF}"))?;
        let beside = arenaq.parent().unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new().prefix("faults-").tempdir_in(beside)?;
        Ok(Place { folder, next: AtomicU64::new(0) })
    }

    /// A place for one command.
    pub(crate) fn own(&self) -> anyhow::Result<Own> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(number.to_string());
        let own = Own {
            number,
            temporary: folder.join("temporary"),
            notes: folder.join("notes"),
            pin: Path::new(BPF).join(number.to_string()),
        };
        std::fs::create_dir_all(&own.temporary)?;
        std::fs::create_dir_all(&own.notes)?;
        Ok(own)
    }
}

impl Own {
    /// What lies in the folder for temporary files, the deepest last.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                found.push(path.clone());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    walk(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.temporary, &mut found);
        found
    }

    /// Removes the folders of this command.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        let folder = self.temporary.parent().unwrap_or(&self.temporary);
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())
    }
}
