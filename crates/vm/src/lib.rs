//! Virtual machines, each booted for one command, and what works on which kernel, tried in them.
//!
//! A guest has a kernel, which may be any, an initramfs and QEMU's processors; no disk and no network. `docs/vm.md` tells
//! how it works, and `cargo xtask vm` and `cargo xtask kernels` are the commands.
//!
//! | module | what it holds |
//! |---|---|
//! | [`machine`] | a virtual machine that is booted for one command |
//! | [`accelerator`] | how QEMU runs the guest's instructions |
//! | [`arch`] | the architectures of guests |
//! | [`boot`] | what a guest's kernel and its init are asked for |
//! | [`preempt`] | when a guest's kernel takes the processor from what runs in it |
//! | [`sysroot`] | libraries for a guest whose architecture is not this machine's |
//! | [`image`] | kernel images: a file, or one of Debian's packages by version |
//! | [`version`] | the versions of kernels |
//! | [`initramfs`] | what a guest has for a file system |
//! | [`guest`] | the command `arenaq` in a guest |
//! | [`console`] | what a guest's kernel wrote on its console |
//! | [`files`] | a hundred thousand files, created in a guest: each is one event |
//! | [`kernels`] | everything of that, on each kernel of a list, as a document |
//! | [`archive`] | Debian's archive, where the machine's own package sources have it |
//! | [`interrupt`] | whether the user wants all this to end |
//!
//! virtme-ng and vmtest do much more, and cannot do this: both share the host's file system with the guest, over
//! 9p, which Debian's kernels for virtual machines do not have, or over a virtiofsd, which Debian bookworm does not
//! have for its newer QEMU.

pub mod accelerator;
mod apt;
pub mod arch;
pub mod archive;
pub mod boot;
pub mod console;
mod crash;
pub mod files;
pub mod guest;
pub mod image;
pub mod initramfs;
pub mod interrupt;
pub mod kernels;
pub mod machine;
pub mod preempt;
pub mod sysroot;
pub mod version;
