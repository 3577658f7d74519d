//! What an element is, as the object's BTF describes it.

use std::ffi::OsStr;

use arenaq::payload::{ElementType, FieldLayout, UNKNOWN, hash};
use libbpf_rs::AsRawLibbpf;
use libbpf_rs::btf::types::{MemberAttr, Struct};
use libbpf_rs::btf::{Btf, BtfType, TypeId};

/// The size of a type in bytes, if it has one.
pub(super) fn size_of(btf: &Btf<'_>, of: TypeId) -> Option<usize> {
    // SAFETY: the BTF lives; libbpf answers with an error if it has no such type.
    let size = unsafe { libbpf_sys::btf__resolve_size(btf.as_libbpf_object().as_ptr(), of.into()) };
    usize::try_from(size).ok()
}

/// What an arena's directory says of elements of a type.
pub(super) fn element_type(btf: &Btf<'_>, of: BtfType<'_>) -> Option<ElementType> {
    let size = size_of(btf, of.type_id())?;
    let structure = Struct::try_from(of.skip_mods_and_typedefs()).ok();
    let fields = structure.as_ref().and_then(|structure| fields(btf, structure));
    let hash = fields.map_or(UNKNOWN, |fields| hash(size, &fields));
    Some(ElementType { size: size.next_multiple_of(8) as u64, hash })
}

/// The members of a structure, if each has a name and whole bytes: the others have no like in Rust.
fn fields<'b>(btf: &Btf<'_>, structure: &'b Struct<'b>) -> Option<Vec<FieldLayout<'b>>> {
    let field = |member: libbpf_rs::btf::types::StructMember<'b>| {
        let name = member.name.and_then(OsStr::to_str).filter(|name| !name.is_empty())?;
        match member.attr {
            MemberAttr::Normal { offset } if offset % 8 == 0 => {
                Some(FieldLayout { name, offset: offset as usize / 8, size: size_of(btf, member.ty)? })
            }
            _ => None,
        }
    };
    structure.iter().map(field).collect()
}
