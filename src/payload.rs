//! What the queues carry.

use bytemuck::{Pod, Zeroable};

/// The largest element, in bytes.
pub const MAX_SIZE: usize = 4096;

/// What a queue can carry: plain old data. Both ends of the queue are different programs, so every bit
/// pattern must be a value and no byte may be padding, which is what [`Pod`] means; and the kernel copies it
/// word by word.
///
/// # Layout
///
/// A whole number of 64-bit words, [`MAX_SIZE`] bytes at most, aligned to at most 8 bytes. A queue of anything else
/// does not compile:
///
/// ```compile_fail
/// use arenaq::payload::Payload;
/// let () = <[u8; 3]>::IS_WORDS;
/// ```
pub trait Payload: Pod {
    /// Evaluated wherever a queue of this payload is made.
    const IS_WORDS: () = assert!(
        size_of::<Self>() % 8 == 0 && size_of::<Self>() <= MAX_SIZE && align_of::<Self>() <= 8,
        "a payload is a whole number of 64-bit words, 4096 bytes at most, aligned to at most 8 bytes"
    );
}

impl<T: Pod> Payload for T {}

/// The seeds' payload, `struct ds_kv`.
///
/// Layout: `key` at 0, `value` at 8; 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct KeyValue {
    /// Who: the seeds' hook stores a process id.
    pub key: u64,
    /// What: the seeds' hook stores a time in nanoseconds.
    pub value: u64,
}

crate::element!(KeyValue { key, value });

crate::layout::layouts! {
    "ds_kv", KeyValue, { "key": key, "value": value }
}

/// A payload whose type can be compared with what the other side of a queue has.
///
/// [`element!`](crate::element!) implements it for a struct. The types of which nothing needs to be known, or can be,
/// have it as well: numbers, and arrays of them.
pub trait Element: Payload {
    /// A number that differs between types whose fields do, or [`UNKNOWN`]. It is [`hash`] of the fields.
    const HASH: u64 = UNKNOWN;
}

impl Element for u64 {}
impl Element for i64 {}
impl<const N: usize> Element for [u64; N] where [u64; N]: Payload {}
impl<const N: usize> Element for [u8; N] where [u8; N]: Payload {}

/// The hash of a type of which nothing is known. It fits every type.
pub const UNKNOWN: u64 = 0;

/// What an arena's directory says of the elements of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ElementType {
    /// The size in bytes: a whole number of words.
    pub size: u64,
    /// The hash of the fields, or [`UNKNOWN`].
    pub hash: u64,
}

impl ElementType {
    /// The type of an element in Rust.
    pub const fn of<T: Element>() -> ElementType {
        let () = T::IS_WORDS;
        ElementType { size: size_of::<T>() as u64, hash: T::HASH }
    }
}

/// A field of an element.
#[derive(Clone, Copy, Debug)]
pub struct FieldLayout<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
}

/// The hash of an element of `size` bytes, rounded up to whole words, with these fields, in their order: FNV-1a over
/// names, offsets and sizes. Fields whose names begin with `_` are padding, which C need not name, and are left out.
pub const fn hash(size: usize, fields: &[FieldLayout<'_>]) -> u64 {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, size.next_multiple_of(8) as u64);
    let mut i = 0;
    while i < fields.len() {
        let mut name = fields[i].name.as_bytes();
        // `r#type` in Rust is `type` in C.
        if let [b'r', b'#', rest @ ..] = name {
            name = rest;
        }
        if !matches!(name, [b'_', ..]) {
            let mut j = 0;
            while j < name.len() {
                hash = fnv(hash, name[j] as u64);
                j += 1;
            }
            hash = fnv(fnv(hash, fields[i].offset as u64), fields[i].size as u64);
        }
        i += 1;
    }
    // Zero says that nothing is known.
    if hash == UNKNOWN { 1 } else { hash }
}

const fn fnv(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The size of a field, for [`element!`](crate::element!).
#[doc(hidden)]
pub const fn size_of_field<S, F>(_field: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Makes a struct an [`Element`]: the other side of a queue compares its fields.
///
/// All fields are named, in their order. A struct in C has the same hash if its fields have the same names, offsets and
/// sizes.
///
/// ```
/// use arenaq::bytemuck::{Pod, Zeroable};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// struct Open {
///     time: u64,
///     pid: u32,
///     tid: u32,
///     comm: [u8; 16],
/// }
///
/// arenaq::element!(Open { time, pid, tid, comm });
/// ```
#[macro_export]
macro_rules! element {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::payload::Element for $type {
            const HASH: u64 = $crate::payload::hash(::core::mem::size_of::<$type>(), &[$(
                $crate::payload::FieldLayout {
                    name: ::core::stringify!($field),
                    offset: ::core::mem::offset_of!($type, $field),
                    size: $crate::payload::size_of_field(|element: &$type| &element.$field),
                }
            ),*]);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{Element, FieldLayout, KeyValue, hash};

    #[test]
    fn a_hash_tells_names_offsets_and_sizes_apart_and_passes_over_padding() {
        let field = |name, offset, size| FieldLayout { name, offset, size };
        let pair = hash(16, &[field("key", 0, 8), field("value", 8, 8)]);
        assert_eq!(pair, KeyValue::HASH);
        for other in [
            hash(16, &[field("kex", 0, 8), field("value", 8, 8)]),
            hash(16, &[field("key", 0, 4), field("value", 8, 8)]),
            hash(16, &[field("key", 4, 8), field("value", 8, 8)]),
            hash(24, &[field("key", 0, 8), field("value", 8, 8)]),
            hash(16, &[field("value", 8, 8), field("key", 0, 8)]),
        ] {
            assert_ne!(pair, other);
        }
        let padded = hash(16, &[field("a", 0, 8), field("b", 8, 4), field("_padding", 12, 4)]);
        assert_eq!(padded, hash(12, &[field("a", 0, 8), field("b", 8, 4)]), "as C has it");
    }
}
