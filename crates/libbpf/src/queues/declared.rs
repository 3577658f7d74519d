//! The queues among the variables of an object's arena.

use std::ffi::OsStr;

use arenaq::arena::{ArenaError, MAX_QUEUES, Name};
use arenaq::payload::{ElementType, UNKNOWN};
use arenaq::structures::{Consumers, Kind};
use libbpf_rs::btf::types::{Array, DataSec, Linkage, MemberAttr, Struct, Var};
use libbpf_rs::btf::{Btf, BtfType, ReferencesType};
use libbpf_rs::{AsRawLibbpf, OpenObject, num_possible_cpus};

use super::Declared;
use super::types::{element_type, size_of};
use crate::error::Error;

/// The section of variables in an arena.
const SECTION: &str = ".addr_space.1";

/// The queues of an object, by their places.
pub(super) fn queues(object: &OpenObject) -> Result<Vec<Declared>, Error> {
    // SAFETY: the object lives as long as it is borrowed.
    let object = unsafe { object.as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(object).map_err(Error::bpf("reading the object's BTF"))?;
    let btf = btf.ok_or(Error::NoTypes)?;
    let Some(section) = btf.type_by_name::<DataSec<'_>>(SECTION) else { return Ok(Vec::new()) };
    let mut queues = Vec::new();
    for place in section.iter() {
        let Some(variable) = btf.type_by_id::<Var<'_>>(place.ty) else { continue };
        let Some(name) = variable.name().and_then(OsStr::to_str) else { continue };
        let before = queues.len();
        let found = Found { btf: &btf, variable: name, queues: &mut queues };
        found.visit(name, variable.referenced_type(), place.offset as usize)?;
        // libbpf does not say where a static variable lies.
        if queues.len() > before && variable.linkage() != Linkage::Global {
            return Err(declaration(name, "it is static, and its place is unknown: make it global"));
        }
    }
    queues.sort_by_key(|queue| queue.offset);
    Ok(queues)
}

fn declaration(variable: &str, reason: &str) -> Error {
    Error::Declaration { variable: variable.to_owned(), reason: reason.to_owned() }
}

struct Found<'f> {
    btf: &'f Btf<'f>,
    variable: &'f str,
    queues: &'f mut Vec<Declared>,
}

impl Found<'_> {
    /// The queues in a variable, or in a part of one: an array has some.
    fn visit(self, name: &str, of: BtfType<'_>, offset: usize) -> Result<(), Error> {
        let Found { btf, variable, queues } = self;
        let of = of.skip_mods_and_typedefs();
        if let Ok(array) = Array::try_from(of) {
            let each = array.contained_type();
            // An array of something else may have any number of elements.
            if !holds_queues(btf, each) {
                return Ok(());
            }
            let size = size_of(btf, array.ty()).unwrap_or(0);
            for i in 0..array.capacity() {
                if queues.len() > MAX_QUEUES {
                    return Err(ArenaError::Queues(array.capacity() as u64).into());
                }
                let found = Found { btf, variable, queues };
                found.visit(&format!("{name}[{i}]"), each, offset + i * size)?;
            }
            return Ok(());
        }
        let Ok(structure) = Struct::try_from(of) else { return Ok(()) };
        let Some(kind) = kind_of(btf, &structure) else { return Ok(()) };
        let missing = || declaration(variable, "declare it with ARENAQ_MPMC, ARENAQ_MPSC or ARENAQ_RECORDS");
        let member = |name: &str| {
            let member = structure.iter().find(|member| member.name.is_some_and(|found| found == name));
            let ty = btf.type_by_id::<BtfType<'_>>(member?.ty)?.skip_mods_and_typedefs();
            // Each is an array of no elements.
            Array::try_from(ty).ok().map(|array| array.contained_type())
        };
        let capacity =
            member("capacity").and_then(|capacity| Array::try_from(capacity).ok()).ok_or_else(missing)?;
        let has_shards = kind.consumers() == Consumers::OfShards;
        let element = if has_shards {
            let largest = member("largest").and_then(|largest| Array::try_from(largest).ok());
            let largest = largest.ok_or_else(missing)?.capacity() as u64;
            ElementType { size: largest.next_multiple_of(8), hash: UNKNOWN }
        } else {
            element_type(btf, member("element").ok_or_else(missing)?)
                .ok_or_else(|| declaration(variable, "the BTF does not say how large an element is"))?
        };
        let shards = if has_shards {
            num_possible_cpus().map_err(Error::bpf("counting the processors"))? as u64
        } else {
            1
        };
        queues.push(Declared {
            name: Name::new(name).ok_or_else(|| ArenaError::Name(name.into()))?,
            kind,
            element,
            capacity: capacity.capacity() as u64,
            shards,
            offset,
        });
        Ok(())
    }
}

fn holds_queues(btf: &Btf<'_>, of: BtfType<'_>) -> bool {
    let of = of.skip_mods_and_typedefs();
    match (Array::try_from(of), Struct::try_from(of)) {
        (Ok(array), _) => holds_queues(btf, array.contained_type()),
        (_, Ok(structure)) => kind_of(btf, &structure).is_some(),
        _ => false,
    }
}

/// Which queue a structure is: that which it begins with, as `queue`.
fn kind_of(btf: &Btf<'_>, structure: &Struct<'_>) -> Option<Kind> {
    let first = structure.iter().next()?;
    if first.name? != "queue" || !matches!(first.attr, MemberAttr::Normal { offset: 0 }) {
        return None;
    }
    let control = btf.type_by_id::<BtfType<'_>>(first.ty)?.skip_mods_and_typedefs();
    let name = Struct::try_from(control).ok()?.name()?.to_str()?;
    Kind::of_control(name)
}
