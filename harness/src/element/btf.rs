//! What libbpf-rs does not say about BTF.

use libbpf_rs::btf::{Btf, TypeId};
use libbpf_rs::{AsRawLibbpf, OpenObject};

use crate::error::Error;

/// The BTF of an object that is not loaded yet.
pub(crate) fn btf(object: &OpenObject) -> Result<Btf<'_>, Error> {
    // SAFETY: the object lives as long as it is borrowed.
    let object = unsafe { object.as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(object).map_err(Error::bpf("reading the object's BTF"))?;
    btf.ok_or_else(|| arenaq_libbpf::Error::NoTypes.into())
}

/// The size of a type in bytes, if it has one.
pub(crate) fn size_of(btf: &Btf<'_>, of: TypeId) -> Option<usize> {
    // SAFETY: the BTF lives; libbpf answers with an error if it has no such type.
    let size = unsafe { libbpf_sys::btf__resolve_size(btf.as_libbpf_object().as_ptr(), of.into()) };
    usize::try_from(size).ok()
}
