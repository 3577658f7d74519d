//! A BPF file system for a test.

use std::ffi::CString;
use std::path::{Path, PathBuf};

/// A BPF file system of the test's own, unmounted at the end.
pub(crate) struct Bpffs(tempfile::TempDir);

impl Bpffs {
    pub(crate) fn mount() -> Bpffs {
        let folder = tempfile::tempdir().expect("a folder for a moment");
        let path = CString::new(folder.path().as_os_str().as_encoded_bytes()).expect("a path");
        // SAFETY: four strings that end with a null byte, and no data.
        let result =
            unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        assert_eq!(result, 0, "mounting a BPF file system: {}", std::io::Error::last_os_error());
        Bpffs(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let path = CString::new(self.0.path().as_os_str().as_encoded_bytes()).expect("a path");
        // SAFETY: a string that ends with a null byte.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}
