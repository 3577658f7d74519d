//! What a caller passes: pointers that may be null, and memory that is this process's alone.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use crate::error::Failure;

/// A text of the caller's.
///
/// # Safety
///
/// `text` is null or leads to a string that ends with a zero byte and lives as long as it is used.
pub(crate) unsafe fn text<'a>(what: &str, text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::null(what));
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Failure::invalid(format_args!("{what} is not UTF-8")))
}

/// A path of the caller's, of any bytes.
///
/// # Safety
///
/// As [`text`].
pub(crate) unsafe fn path<'a>(what: &str, path: *const c_char) -> Result<&'a Path, Failure> {
    if path.is_null() {
        return Err(Failure::null(what));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// Something of the caller's.
///
/// # Safety
///
/// `pointer` is null, or leads to a `T` that lives as long as it is used and that nobody changes meanwhile.
pub(crate) unsafe fn shared<'a, T>(what: &str, pointer: *const T) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::null(what))
}

/// Where a result goes.
///
/// # Safety
///
/// `pointer` is null, or leads to a `T` that nobody else uses meanwhile.
pub(crate) unsafe fn exclusive<'a, T>(what: &str, pointer: *mut T) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::null(what))
}

/// Zeroed memory for an arena.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is an allocation, which any thread may free.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared one gives its address and nothing else.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Option<Memory> {
        let layout = Layout::from_size_align(bytes.max(1), 64).ok()?;
        // SAFETY: the layout has at least one byte.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map(|start| Memory { start, layout })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn length(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
