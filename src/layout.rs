//! Where every field lies: what C, the kernel and Rust must agree on.
//!
//! Offsets and sizes are in bytes. They hold for the platforms with 8-byte words and links, `Native` and
//! `Bpf`.

/// A value on a cache line of its own, 64 bytes: what the seeds' compiled code has. (crossbeam's
/// `CachePadded` is 128 bytes on x86-64, where it would move every field behind it.)
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CacheLine<T>(pub T);

/// One structure of the shared memory.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// The name in C.
    pub name: &'static str,
    /// The size in bytes.
    pub size: usize,
    /// The alignment in bytes.
    pub align: usize,
    /// The fields by their names in C, and their offsets in bytes.
    pub fields: &'static [(&'static str, usize)],
}

/// Lists structures: their names in C, their types, and the names in C of fields.
macro_rules! layouts {
    ($($name:literal, $type:ty, { $($field:literal: $($path:ident).+),* $(,)? })*) => {
        /// The layouts of this structure.
        pub(crate) const LAYOUTS: &[$crate::layout::StructLayout] = &[$($crate::layout::StructLayout {
            name: $name,
            size: ::core::mem::size_of::<$type>(),
            align: ::core::mem::align_of::<$type>(),
            fields: &[$(($field, ::core::mem::offset_of!($type, $($path).+))),*],
        }),*];
    };
}
pub(crate) use layouts;
