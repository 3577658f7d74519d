//! A folder of a BPF file system that is open. What is in it is reached through the open folder, so neither a
//! symbolic link nor another folder in its place leads elsewhere.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use libbpf_rs::MapHandle;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags, fstat, fstatfs, mkdirat, openat, statat,
    statx, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::Error;
use crate::log;
use crate::refusal::Refusal;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    directory: OwnedFd,
}

/// What a file of a BPF file system stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// The map of this id.
    Map(u32),
    /// The link of this id.
    Link(u32),
    /// A folder.
    Folder,
    /// A program, or something that this does not know.
    Other,
}

impl Folder {
    /// Makes the folder, for its owner only: whoever can open it can lock it, and keep consumers away.
    pub(crate) fn make(path: &Path) -> Result<Folder, Error> {
        let (parent, name) = open_parent(path)?;
        if !is_bpf(&parent)? {
            return Err(Error::pinned(
                path,
                format!(
                    "{} is not on a BPF file system: choose a folder in /sys/fs/bpf, after `mount -t bpf bpf /sys/fs/bpf` if need be",
                    parent_path(path).display()
                ),
            ));
        }
        if has_dot(name) {
            return Err(dot(path, name));
        }
        mkdirat(&parent, name, Mode::RWXU).map_err(|error| match error {
            Errno::EXIST => Error::pinned(
                path,
                format!(
                    "it exists already; `arenaq unpin {}` takes away what is pinned there",
                    path.display()
                ),
            ),
            error => Error::system(format!("making {}", path.display()))(error),
        })?;
        Self::open(path).inspect_err(|_| {
            // Nothing is in it yet.
            let _ = unlinkat(&parent, name, AtFlags::REMOVEDIR);
        })
    }

    /// Opens the folder itself: not one to which a symbolic link of this name leads.
    pub(crate) fn open(path: &Path) -> Result<Folder, Error> {
        let (parent, name) = open_parent(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&parent, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => Error::pinned(path, "there is no such folder: `arenaq pin` makes one"),
            Errno::NOTDIR | Errno::LOOP => match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Symlink => Error::pinned(
                    path,
                    "it is a symbolic link, which is not followed: give the folder to which it leads",
                ),
                _ => Error::pinned(path, "it is no folder: `arenaq pin` makes one"),
            },
            Errno::PERM if has_dot(name) && is_bpf(&parent).unwrap_or(false) => dot(path, name),
            error => Error::system(format!("opening {}", path.display()))(error),
        })?;
        if !is_bpf(&directory)? {
            return Err(Error::pinned(
                path,
                "it is not on a BPF file system, and only there `arenaq pin` makes such a folder",
            ));
        }
        let folder = Folder { path: path.to_owned(), directory };
        folder.check_owner()?;
        Ok(folder)
    }

    /// Whoever owns the folder may put anything into it, and programs and maps of others are believed only if they are root's
    /// or ours.
    fn check_owner(&self) -> Result<(), Error> {
        let (owner, us) = (self.status()?.st_uid, geteuid().as_raw());
        if owner == 0 || owner == us {
            return Ok(());
        }
        let path = self.path.display();
        Err(self.refusal(format!(
            "it belongs to user {owner}, who may have put anything there, and not to root or to user {us}, who runs this. If \
             you trust what is in it, take it over (`chown {us} {path}`); if not, remove it (`rm -r {path}`)"
        )))
    }

    /// Opens the folder, or that to which a symbolic link leads.
    pub(crate) fn open_followed(path: &Path) -> Result<Folder, Error> {
        // What cannot be followed is opened as it is, which says why not.
        Self::open(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn refusal(&self, reason: impl Into<String>) -> Error {
        Error::pinned(&self.path, reason)
    }

    /// Makes the place of the lock of the queue with this number: the folder itself for the first one, and a folder in it for
    /// each further one, for a folder has one lock.
    pub(crate) fn make_lock(&self, queue: usize) -> Result<Folder, Error> {
        if queue > 0 {
            let name = lock_name(queue);
            mkdirat(&self.directory, &name, Mode::RWXU)
                .map_err(Error::system(format!("making {}/{name}", self.path.display())))?;
        }
        self.lock(queue).inspect_err(|_| self.remove_lock(queue))
    }

    /// The place of that lock.
    pub(crate) fn lock(&self, queue: usize) -> Result<Folder, Error> {
        let directory = if queue == 0 {
            self.reopen()?
        } else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let name = lock_name(queue);
            openat(&self.directory, &name, flags, Mode::empty())
                .map_err(Error::system(format!("opening {}/{name}", self.path.display())))?
        };
        Ok(Folder { path: self.path.clone(), directory })
    }

    /// Removes it, if it is a folder of its own. If that fails, so does what removes the folder around it.
    pub(crate) fn remove_lock(&self, queue: usize) {
        if queue > 0 {
            let _ = unlinkat(&self.directory, lock_name(queue), AtFlags::REMOVEDIR);
        }
    }

    /// A path to something in this very folder, whatever has become of its name.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()))
    }

    /// The names of everything in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, Error> {
        let what = || format!("reading {}", self.path.display());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory).map_err(Error::system(what()))? {
            let entry = entry.map_err(Error::system(what()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    pub(crate) fn has(&self, name: &str) -> Result<bool, Error> {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(Error::system(format!("looking at {}/{name}", self.path.display()))(error)),
        }
    }

    /// A pinned map.
    pub(crate) fn map(&self, name: &str) -> Result<MapHandle, Error> {
        if !self.has(name)? {
            return Err(self.refusal(format!("there is no {name}: `arenaq pin` makes such a folder")));
        }
        match self.identify(name.as_ref()) {
            Ok(Pin::Map(_)) => {}
            Ok(_) => return Err(self.refusal(format!("{name} is no BPF map"))),
            Err(why) => return Err(self.refusal(format!("opening {name}: {why}"))),
        }
        let (map, messages) = log::capture(|| MapHandle::from_pinned_path(self.entry(name)));
        map.map_err(|error| self.refusal(format!("opening {name}: {}", Refusal::new(&error, messages))))
    }

    /// Pins an object here.
    pub(crate) fn pin(&self, object: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
        let options = libbpf_sys::bpf_obj_pin_opts {
            sz: size_of::<libbpf_sys::bpf_obj_pin_opts>() as _,
            file_flags: libbpf_sys::BPF_F_PATH_FD,
            path_fd: self.directory.as_raw_fd(),
        };
        let path = CString::new(name).map_err(|error| Error::Usage(error.to_string()))?;
        // SAFETY: a string that ends with a null byte and options that say how long they are; both live long enough.
        let result =
            unsafe { libbpf_sys::bpf_obj_pin_opts(object.as_raw_fd(), path.as_ptr(), &raw const options) };
        told(result).map(|_| ()).map_err(Error::system(format!("pinning {}/{name}", self.path.display())))
    }

    /// What a file of the folder stands for. Refuses what is mounted over it, and what is no plain file.
    pub(crate) fn identify(&self, name: &OsStr) -> Result<Pin, String> {
        let look = |flags| {
            statx(
                &self.directory,
                flags_name(name, flags),
                flags,
                StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
            )
        };
        let (here, file) = match (look(AtFlags::EMPTY_PATH), look(AtFlags::SYMLINK_NOFOLLOW)) {
            (Ok(here), Ok(file)) => (here, file),
            (Err(error), _) | (_, Err(error)) => return Err(io::Error::from(error).to_string()),
        };
        match FileType::from_raw_mode(file.stx_mode.into()) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err("a symbolic link".to_owned()),
            FileType::Directory => {}
            _ => return Err("no BPF object".to_owned()),
        }
        if file.stx_mnt_id != here.stx_mnt_id {
            return Err("something is mounted there".to_owned());
        }
        if FileType::from_raw_mode(file.stx_mode.into()) == FileType::Directory {
            return Ok(Pin::Folder);
        }
        let [link, map] = self.numbers(name, ["link_id:", "map_id:"])?;
        Ok(match (link, map) {
            (Some(link), _) => Pin::Link(link),
            (None, Some(map)) => Pin::Map(map),
            (None, None) => Pin::Other,
        })
    }

    /// The id of the program that is attached by a pinned link.
    pub(crate) fn program_of(&self, name: &str) -> Result<u32, Error> {
        let [program] = self
            .numbers(name.as_ref(), ["prog_id:"])
            .map_err(|why| self.refusal(format!("opening {name}: {why}")))?;
        program.ok_or_else(|| self.refusal(format!("{name} is no attached program")))
    }

    /// What the kernel says of the object behind a file, by keys that stand before numbers.
    fn numbers<const N: usize>(&self, name: &OsStr, keys: [&str; N]) -> Result<[Option<u32>; N], String> {
        let object = self.object(name).map_err(|error| error.to_string())?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))
            .map_err(|error| format!("/proc/self/fdinfo: {error}"))?;
        Ok(keys.map(|key| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|value| value.trim().parse().ok())
        }))
    }

    fn object(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let options = libbpf_sys::bpf_obj_get_opts {
            sz: size_of::<libbpf_sys::bpf_obj_get_opts>() as _,
            file_flags: libbpf_sys::BPF_F_PATH_FD,
            path_fd: self.directory.as_raw_fd(),
        };
        let path = CString::new(name.as_bytes())?;
        // SAFETY: as in `pin`.
        let descriptor = told(unsafe { libbpf_sys::bpf_obj_get_opts(path.as_ptr(), &raw const options) })?;
        // SAFETY: the descriptor was opened above, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// Removes one file, or one of the folders that are locks.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let flags = if lock_number(name).is_some() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&self.directory, name, flags)
            .map_err(Error::system(format!("removing {}/{name}", self.path.display())))
    }

    /// Removes the folder, which is empty, if it still has its name.
    pub(crate) fn remove_itself(&self) -> Result<(), Error> {
        let (parent, name) = open_parent(&self.path)?;
        let what = || format!("removing {}", self.path.display());
        let named = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::system(what()))?;
        let ours = self.status()?;
        if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino) {
            return Err(
                self.refusal("somebody has put something else in its place: it was emptied, and stays")
            );
        }
        unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(Error::system(what()))
    }

    pub(crate) fn status(&self) -> Result<Stat, Error> {
        fstat(&self.directory).map_err(Error::system(format!("looking at {}", self.path.display())))
    }

    /// Whether it was removed.
    pub(crate) fn is_gone(&self) -> bool {
        self.status().is_ok_and(|status| status.st_nlink == 0)
    }

    /// The folder opened once more, for a lock of its own.
    pub(crate) fn reopen(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.directory, ".", flags, Mode::empty())
            .map_err(Error::system(format!("opening {}", self.path.display())))
    }
}

/// The folder that is the lock of a queue with this number, from 1 on.
pub(crate) fn lock_name(queue: usize) -> String {
    format!("{LOCK}{queue}")
}

/// The number in such a name.
pub(crate) fn lock_number(name: &str) -> Option<usize> {
    name.strip_prefix(LOCK)?.parse().ok().filter(|&number| number > 0 && lock_name(number) == name)
}

const LOCK: &str = "queue_";

/// With an empty name, `statx` looks at the folder itself.
fn flags_name(name: &OsStr, flags: AtFlags) -> &OsStr {
    if flags.contains(AtFlags::EMPTY_PATH) { OsStr::new("") } else { name }
}

/// libbpf returns the error as a negative number.
fn told(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

fn parent_path(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The folder in which something is, and its name there.
fn open_parent(path: &Path) -> Result<(OwnedFd, &OsStr), Error> {
    let Some(name) = path.file_name() else {
        return Err(Error::pinned(path, "give the folder by its own name, not as `..` or `/`"));
    };
    let parent = parent_path(path);
    let opened = openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = opened.map_err(|error| {
        let dotted = parent.components().rev().find_map(|component| match component {
            Component::Normal(name) if has_dot(name) => Some(name),
            _ => None,
        });
        match (error, dotted) {
            (Errno::PERM, Some(name)) => dot(path, name),
            _ => Error::system(format!("opening {}", parent.display()))(error),
        }
    })?;
    Ok((opened, name))
}

fn is_bpf(directory: &OwnedFd) -> Result<bool, Error> {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let fs = fstatfs(directory).map_err(Error::system("looking at a file system"))?;
    Ok(fs.f_type as u64 == BPF_FS_MAGIC)
}

fn has_dot(name: &OsStr) -> bool {
    name.as_bytes().contains(&b'.')
}

fn dot(path: &Path, name: &OsStr) -> Error {
    let name = name.to_string_lossy();
    let other = name.replace('.', "_");
    Error::pinned(
        path,
        format!("a BPF file system has no names with a dot, as in {name}: choose another, such as {other}"),
    )
}
