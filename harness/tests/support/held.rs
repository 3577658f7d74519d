//! Memory that is not there until a test gives it: a program that reads it stops at that instruction.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, UserfaultfdFlags, mmap_anonymous, munmap, userfaultfd};
use rustix::param::page_size;

/// A page. Whoever reads it sleeps until it is [given](Self::give), or this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    page: NonNull<u8>,
    faults: OwnedFd,
}

/// What the kernel's `<linux/userfaultfd.h>` has, with the numbers of the calls.
const API: (libc::Ioctl, u64) = (0xc018_aa3f_u32 as libc::Ioctl, 0xaa);
const REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
const REGISTER_MISSING: u64 = 1;
const COPY: libc::Ioctl = 0xc028_aa03_u32 as libc::Ioctl;

// SAFETY: the page is only an address; it is the kernel that reads and fills it.
unsafe impl Sync for Held {}
// SAFETY: as above.
unsafe impl Send for Held {}

impl Held {
    pub(crate) fn new() -> io::Result<Held> {
        // SAFETY: nothing is registered yet.
        let faults = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC) }?;
        let (number, version) = API;
        call(&faults, number, &mut [version, 0, 0])?;
        // SAFETY: a new mapping, anywhere.
        let page = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                page_size(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let page = NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let held = Held { page, faults };
        call(&held.faults, REGISTER, &mut [held.address(), page_size() as u64, REGISTER_MISSING, 0])?;
        Ok(held)
    }

    pub(crate) fn address(&self) -> u64 {
        self.page.as_ptr().expose_provenance() as u64
    }

    /// Gives the page, full of that word.
    pub(crate) fn give(&self, word: u64) -> io::Result<()> {
        let content = vec![word; page_size() / size_of::<u64>()];
        let from = content.as_ptr().expose_provenance() as u64;
        call(&self.faults, COPY, &mut [self.address(), from, page_size() as u64, 0, 0])
    }
}

fn call<const N: usize>(faults: &OwnedFd, number: libc::Ioctl, arguments: &mut [u64; N]) -> io::Result<()> {
    // SAFETY: each call's argument is a structure of so many words, which the kernel reads and writes.
    let result = unsafe { libc::ioctl(faults.as_raw_fd(), number, arguments.as_mut_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody has a reference to what lies there.
        let _ = unsafe { munmap(self.page.as_ptr().cast(), page_size()) };
    }
}
