//! Where in the BTF of an object the elements of a queue are described.

use libbpf_rs::btf::types::{Array, Struct, Var};
use libbpf_rs::btf::{Btf, BtfKind, BtfType, ReferencesType};

use super::record::of as of_record;
use super::shape::Shape;

/// What a queue carries, by its name, as in `jobs[2]`: what ARENAQ_MPMC and ARENAQ_MPSC say in the member `element`.
pub(crate) fn element(btf: &Btf<'_>, queue: &str) -> Option<Shape> {
    Some(Shape::of(btf, element_type(btf, queue)?))
}

/// What records carry, by their name: what ARENAQ_RECORDS says behind the size of the largest, if it says anything.
pub(crate) fn record(btf: &Btf<'_>, records: &str) -> Shape {
    element_type(btf, records).map_or(Shape::Unknown, |of| of_record(btf, of))
}

/// What its type is called in C, as in `struct event`.
pub(crate) fn name(btf: &Btf<'_>, queue: &str) -> Option<String> {
    let mut of = element_type(btf, queue)?;
    loop {
        if let Some(name) = of.name().filter(|name| !name.is_empty()) {
            let kind = match of.kind() {
                BtfKind::Struct => "struct ",
                BtfKind::Union => "union ",
                BtfKind::Enum | BtfKind::Enum64 => "enum ",
                _ => "",
            };
            return Some(format!("{kind}{}", name.to_string_lossy()));
        }
        of = of.next_type()?;
    }
}

fn element_type<'b>(btf: &'b Btf<'_>, queue: &str) -> Option<BtfType<'b>> {
    let variable = queue.split('[').next()?;
    // By its kind too: a type may have the same name.
    let variable =
        btf.type_by_kind::<Var<'_>>().find(|found| found.name().is_some_and(|name| name == variable))?;
    let mut of = variable.referenced_type().skip_mods_and_typedefs();
    while let Ok(array) = Array::try_from(of) {
        of = array.contained_type().skip_mods_and_typedefs();
    }
    let queue = Struct::try_from(of).ok()?;
    let element = queue.iter().find(|member| member.name.is_some_and(|name| name == "element"))?.ty;
    let element = btf.type_by_id::<BtfType<'_>>(element)?.skip_mods_and_typedefs();
    Some(Array::try_from(element).ok()?.contained_type())
}
