//! A BPF file system for a test.

use std::ffi::CString;
use std::path::{Path, PathBuf};

/// A BPF file system of the test's own, unmounted at the end.
pub(crate) struct Bpffs(tempfile::TempDir);

impl Bpffs {
    pub(crate) fn mount() -> Bpffs {
        let folder = tempfile::tempdir().expect("a folder for a moment");
        let path = c_string(folder.path());
        // SAFETY: four strings that end with a null byte, and no data.
        let result =
            unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        assert_eq!(result, 0, "mounting a BPF file system: {}", std::io::Error::last_os_error());
        Bpffs(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Mounts one of its files over another, until what this returns is dropped.
    pub(crate) fn bind(&self, from: &Path, over: &Path) -> Bound {
        let [from, over] = [from, over].map(c_string);
        let nothing = std::ptr::null();
        // SAFETY: two strings that end with a null byte, and no data.
        let result =
            unsafe { libc::mount(from.as_ptr(), over.as_ptr(), nothing, libc::MS_BIND, nothing.cast()) };
        assert_eq!(result, 0, "binding: {}", std::io::Error::last_os_error());
        Bound(over)
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).expect("a path")
}

/// Something that is mounted.
pub(crate) struct Bound(CString);

impl Drop for Bound {
    fn drop(&mut self) {
        // SAFETY: a string that ends with a null byte.
        unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let path = c_string(self.0.path());
        // SAFETY: a string that ends with a null byte.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}
