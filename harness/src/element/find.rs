//! Where in the BTF of an object the elements of a queue are described.

use libbpf_rs::btf::types::{Array, Struct, Var};
use libbpf_rs::btf::{Btf, BtfType, ReferencesType, TypeId};
use libbpf_rs::{AsRawLibbpf, OpenObject};

use super::Shape;
use crate::error::Error;

/// The BTF of an object that is not loaded yet.
pub(crate) fn btf(object: &OpenObject) -> Result<Btf<'_>, Error> {
    // SAFETY: the object lives as long as it is borrowed.
    let object = unsafe { object.as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(object).map_err(Error::bpf("reading the object's BTF"))?;
    btf.ok_or_else(|| arenaq_libbpf::Error::NoTypes.into())
}

/// What a queue carries, by its name, as in `jobs[2]`: what ARENAQ_MPMC and ARENAQ_MPSC say in the member `element`.
pub(crate) fn element(btf: &Btf<'_>, queue: &str) -> Option<Shape> {
    let variable = queue.split('[').next()?;
    let variable = btf.type_by_name::<Var<'_>>(variable)?;
    let mut of = variable.referenced_type().skip_mods_and_typedefs();
    while let Ok(array) = Array::try_from(of) {
        of = array.contained_type().skip_mods_and_typedefs();
    }
    let queue = Struct::try_from(of).ok()?;
    let element = queue.iter().find(|member| member.name.is_some_and(|name| name == "element"))?;
    let element = btf.type_by_id::<BtfType<'_>>(element.ty)?.skip_mods_and_typedefs();
    Some(Shape::of(btf, Array::try_from(element).ok()?.contained_type()))
}

/// The size of a type in bytes, if it has one.
pub(crate) fn size_of(btf: &Btf<'_>, of: TypeId) -> Option<usize> {
    // SAFETY: the BTF lives; libbpf answers with an error if it has no such type.
    let size = unsafe { libbpf_sys::btf__resolve_size(btf.as_libbpf_object().as_ptr(), of.into()) };
    usize::try_from(size).ok()
}
