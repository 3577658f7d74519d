//! A folder of a BPF file system, and the maps that are pinned in it.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

use bytemuck::NoUninit;
use queues::Status;
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::Failure;

/// Numbers of bpf(2).
const LOOKUP_ELEM: libc::c_int = 1;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// The path begins at an open folder.
const PATH_FD: u32 = 1 << 14;
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    directory: OwnedFd,
}

/// A pinned map, opened.
pub(super) struct Map {
    pub(super) file: OwnedFd,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
}

/// `union bpf_attr`, for each call. None has padding, which would hold anything: the kernel refuses what is not zero behind the
/// last field that a call has.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ObjectGet {
    path: u64,
    map: u32,
    flags: u32,
    folder: i32,
    zero: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct InfoGet {
    map: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Lookup {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// # Safety
///
/// `attribute` is what the kernel wants for the command, and leads to memory that it may read and write.
unsafe fn bpf<T: NoUninit>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Folder, Failure> {
        // What cannot be resolved is opened as it is, which says why not.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let no_folder = |status, reason: &dyn std::fmt::Display| {
            Failure::new(status, format_args!("{}: {reason}", path.display()))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, &path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => no_folder(
                Status::NotFound,
                &"there is no such folder: `arenaq pin` or `arenaq load --pin` makes one",
            ),
            error => no_folder(Status::Invalid, &error),
        })?;
        if fstatfs(&directory).is_ok_and(|fs| fs.f_type as u64 != BPF_FS_MAGIC) {
            return Err(no_folder(
                Status::Invalid,
                &"it is not on a BPF file system, and only there `arenaq pin` makes such a folder",
            ));
        }
        let owner = fstat(&directory).map_err(|error| no_folder(Status::Invalid, &error))?.st_uid;
        let us = geteuid().as_raw();
        if owner != 0 && owner != us {
            return Err(no_folder(
                Status::Invalid,
                &format_args!(
                    "it belongs to user {owner}, who may have put anything there, and not to root or to user {us}, who runs this"
                ),
            ));
        }
        Ok(Folder { path, directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn refusal(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::invalid(format_args!("{}: {reason}", self.path.display()))
    }

    /// The folder opened once more, for a lock of its own.
    pub(super) fn reopen(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.directory, ".", flags, Mode::empty()).map_err(|error| self.refusal(error))
    }

    /// Where the lock of the queue with this number is: the folder itself for the first one, and a folder in it for the others.
    pub(super) fn lock(&self, queue: usize) -> Result<Folder, Failure> {
        if queue == 0 {
            return Ok(Folder { path: self.path.clone(), directory: self.reopen()? });
        }
        let name = format!("queue_{queue}");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.directory, &name, flags, Mode::empty());
        let directory = opened.map_err(|error| self.refusal(format_args!("opening {name}: {error}")))?;
        Ok(Folder { path: self.path.join(name), directory })
    }

    /// The device and the inode, as /proc/locks has them.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        fstat(&self.directory).ok().map(|status| (status.st_dev, status.st_ino))
    }

    /// Whether it was removed.
    pub(super) fn is_gone(&self) -> bool {
        fstat(&self.directory).is_ok_and(|status| status.st_nlink == 0)
    }

    /// A map that is pinned here.
    pub(super) fn map(&self, name: &str, kind: u32) -> Result<Map, Failure> {
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT) => Failure::new(
                Status::NotFound,
                format_args!("{}: there is no {name}: `arenaq pin` makes such a folder", self.path.display()),
            ),
            Some(libc::EPERM) => self.refusal("BPF is for root, or for a process with CAP_BPF"),
            _ => self.refusal(format_args!("opening {name}: {error}")),
        };
        let path = CString::new(name).map_err(|error| self.refusal(error))?;
        let mut get = ObjectGet {
            path: path.as_ptr().expose_provenance() as u64,
            map: 0,
            flags: PATH_FD,
            folder: self.directory.as_raw_fd(),
            zero: 0,
        };
        // SAFETY: the path is a string, and the folder is open.
        let file = unsafe { bpf(OBJ_GET, &mut get) }.map_err(failed)?;
        // SAFETY: opened above, and nobody else's.
        let file = unsafe { OwnedFd::from_raw_fd(file as libc::c_int) };
        // Type, id, sizes of key and value, number of entries: with them `struct bpf_map_info` begins.
        let mut info = [0u32; 5];
        let mut get = InfoGet {
            map: file.as_raw_fd() as u32,
            length: size_of_val(&info) as u32,
            info: info.as_mut_ptr().expose_provenance() as u64,
        };
        // SAFETY: the kernel writes no more than the length.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut get) }.map_err(failed)?;
        let [found, _, _, value_size, max_entries] = info;
        if found != kind {
            return Err(self.refusal(format_args!("{name} is a map of type {found}, not {kind}")));
        }
        Ok(Map { file, value_size, max_entries })
    }

    /// The first value of an array, in whole words.
    pub(super) fn first_value(&self, map: &Map) -> Result<Vec<u64>, Failure> {
        // The kernel writes whole words.
        let mut words = vec![0u64; (map.value_size as usize).div_ceil(size_of::<u64>())];
        let key = 0u32;
        let mut lookup = Lookup {
            map: map.file.as_raw_fd() as u32,
            zero: 0,
            key: (&raw const key).expose_provenance() as u64,
            value: words.as_mut_ptr().expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: an array's key is 4 bytes, and there is room for a value.
        let looked = unsafe { bpf(LOOKUP_ELEM, &mut lookup) };
        looked.map_err(|error| self.refusal(format_args!("reading its record: {error}")))?;
        Ok(words)
    }
}
