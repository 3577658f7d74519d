//! What an element is, taken out of the BTF once, so that an element costs no look at it.

use std::ffi::OsStr;

use libbpf_rs::btf::types::{Array, Composite, Enum, Enum64, Float, Int, IntEncoding, MemberAttr, Ptr};
use libbpf_rs::btf::{Btf, BtfType, HasSize};

use super::btf::size_of;

/// A type in C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An integer.
    Number {
        /// In bytes.
        size: usize,
        /// Whether it can be below zero.
        is_signed: bool,
    },
    /// A `bool`.
    Bool {
        /// In bytes.
        size: usize,
    },
    /// An enumeration.
    Enum {
        /// In bytes.
        size: usize,
        /// Whether its values can be below zero.
        is_signed: bool,
        /// The values that have names.
        names: Vec<(i128, String)>,
    },
    /// `float` or `double`.
    Float {
        /// In bytes.
        size: usize,
    },
    /// A pointer.
    Pointer {
        /// In bytes.
        size: usize,
    },
    /// An array of `char`.
    Text {
        /// In bytes.
        size: usize,
    },
    /// An array of something else.
    Array {
        /// Of what.
        each: Box<Shape>,
        /// How many bytes one of them has.
        size: usize,
        /// How many there are.
        count: usize,
    },
    /// A structure or a union.
    Members(Vec<Field>),
    /// One of which an enumerator says what is in it.
    Tagged(Box<Tagged>),
    /// Strings up to the end of the record: a flexible array of `char`.
    Strings,
    /// A flexible array of something else.
    Rest {
        /// Of what.
        each: Box<Shape>,
        /// How many bytes one of them has.
        size: usize,
    },
    /// A record of which nothing is known.
    Unknown,
    /// Something of which no more is known than its size.
    Opaque {
        /// In bytes.
        size: usize,
    },
}

/// A member of a structure or of a union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it begins, in bits.
    pub offset: usize,
    /// How many bits it has, if it is a bit-field.
    pub bits: Option<u32>,
    /// What it is.
    pub shape: Shape,
}

/// A structure or a union in which an enumerator says what is there.
///
/// The first enumerator, in the order in which C declares them, chooses the first of the union's members, and so on, whatever
/// their values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The enumeration.
    pub tag: Field,
    /// Members that are always there.
    pub before: Vec<Field>,
    /// What each enumerator chooses.
    pub choices: Vec<Vec<Field>>,
    /// Members behind it that are always there.
    pub after: Vec<Field>,
}

/// No program nests types deeper; BTF that says so leads in a circle.
const DEEPEST: usize = 32;

impl Shape {
    /// The shape of a type.
    pub(crate) fn of(btf: &Btf<'_>, of: BtfType<'_>) -> Shape {
        Shape::at(btf, of, 0)
    }

    fn at(btf: &Btf<'_>, of: BtfType<'_>, depth: usize) -> Shape {
        let of = of.skip_mods_and_typedefs();
        let size = size_of(btf, of.type_id()).unwrap_or(0);
        if depth > DEEPEST {
            return Shape::Opaque { size };
        }
        if let Ok(number) = Int::try_from(of) {
            return match number.encoding {
                IntEncoding::Bool => Shape::Bool { size },
                encoding => Shape::Number { size, is_signed: matches!(encoding, IntEncoding::Signed) },
            };
        }
        if let Ok(named) = Enum::try_from(of) {
            let names = named.iter().map(|member| (member.value.into(), text(member.name))).collect();
            return Shape::Enum { size, is_signed: named.is_signed(), names };
        }
        if let Ok(named) = Enum64::try_from(of) {
            let names = named.iter().map(|member| (member.value, text(member.name))).collect();
            return Shape::Enum { size, is_signed: named.is_signed(), names };
        }
        if let Ok(array) = Array::try_from(of) {
            let each = array.contained_type();
            if is_char(each) {
                return Shape::Text { size };
            }
            let each_size = size_of(btf, array.ty()).unwrap_or(0);
            let count = if each_size == 0 { 0 } else { array.capacity() };
            return Shape::Array { each: Box::new(Shape::at(btf, each, depth + 1)), size: each_size, count };
        }
        if let Ok(composite) = Composite::try_from(of) {
            let mut fields = Vec::new();
            add_fields(btf, &composite, 0, depth, &mut fields);
            return Shape::Members(fields);
        }
        if let Ok(float) = Float::try_from(of) {
            return Shape::Float { size: float.size() };
        }
        if Ptr::try_from(of).is_ok() {
            return Shape::Pointer { size };
        }
        Shape::Opaque { size }
    }
}

/// The members; those of a member without a name, as C names them, are its owner's.
pub(super) fn add_fields(
    btf: &Btf<'_>,
    of: &Composite<'_>,
    base: usize,
    depth: usize,
    fields: &mut Vec<Field>,
) {
    for member in of.iter() {
        let Some(ty) = btf.type_by_id::<BtfType<'_>>(member.ty) else { continue };
        let (offset, bits) = match member.attr {
            MemberAttr::Normal { offset } => (offset, None),
            MemberAttr::BitField { size, offset } => (offset, Some(u32::from(size))),
        };
        let offset = base + offset as usize;
        let name = text(member.name);
        match Composite::try_from(ty.skip_mods_and_typedefs()) {
            Ok(inner) if name.is_empty() && depth < DEEPEST => {
                add_fields(btf, &inner, offset, depth + 1, fields);
            }
            // Padding.
            _ if name.is_empty() => {}
            _ => fields.push(Field { name, offset, bits, shape: Shape::at(btf, ty, depth + 1) }),
        }
    }
}

/// clang does not use BTF's own mark for it.
fn is_char(of: BtfType<'_>) -> bool {
    let of = of.skip_mods_and_typedefs();
    let Ok(number) = Int::try_from(of) else { return false };
    matches!(number.encoding, IntEncoding::Char) || of.name().is_some_and(|name| name == "char")
}

pub(super) fn text(name: Option<&OsStr>) -> String {
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
