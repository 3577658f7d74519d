//! What a record is, whose type the program names: it may have an open end, and a tag may say which of several types it is.

use libbpf_rs::btf::types::{Composite, CompositeMember, MemberAttr};
use libbpf_rs::btf::{Btf, BtfKind, BtfType};

use super::shape::{Field, Shape, Tagged, add_fields, text};

/// The shape of records of a type.
pub(super) fn of(btf: &Btf<'_>, of: BtfType<'_>) -> Shape {
    let mut shape = tagged(btf, of).map_or_else(|| Shape::of(btf, of), |tagged| Shape::Tagged(tagged.into()));
    open_end(&mut shape);
    shape
}

/// What lies last has no end but the record's, if it is an array without a length.
fn open_end(shape: &mut Shape) {
    fn last(fields: &mut [Field]) {
        if let Some(field) = fields.iter_mut().max_by_key(|field| field.offset) {
            open_end(&mut field.shape);
        }
    }
    match shape {
        Shape::Text { size: 0 } => *shape = Shape::Strings,
        Shape::Array { each, size, count: 0 } => *shape = Shape::Rest { each: each.clone(), size: *size },
        Shape::Members(fields) => last(fields),
        Shape::Tagged(tagged) => {
            tagged.choices.iter_mut().for_each(|fields| last(fields));
            last(&mut tagged.after);
        }
        _ => {}
    }
}

/// The type, if it is one of several that a tag tells apart.
fn tagged(btf: &Btf<'_>, of: BtfType<'_>) -> Option<Tagged> {
    let of = of.skip_mods_and_typedefs();
    let composite = Composite::try_from(of).ok()?;
    if of.kind() == BtfKind::Union { union_of_tagged(btf, &composite) } else { with_union(btf, &composite) }
}

/// A structure whose first member is an enumeration, and that has a union of structures.
fn with_union(btf: &Btf<'_>, of: &Composite<'_>) -> Option<Tagged> {
    let tag = tag(btf, of)?;
    let mut tagged = Tagged { tag, before: Vec::new(), choices: Vec::new(), after: Vec::new() };
    for member in of.iter() {
        let ty = btf.type_by_id::<BtfType<'_>>(member.ty)?.skip_mods_and_typedefs();
        let (offset, bits) = match member.attr {
            MemberAttr::Normal { offset } => (offset as usize, None),
            MemberAttr::BitField { size, offset } => (offset as usize, Some(u32::from(size))),
        };
        let name = text(member.name);
        let composite = Composite::try_from(ty).ok();
        let union = composite.as_ref().filter(|union| is_union_of_structures(btf, ty, union));
        match union {
            // Which of two the tag is for nobody can say.
            Some(_) if !tagged.choices.is_empty() => return None,
            Some(union) if name.is_empty() => tagged.choices = choices(btf, union, offset),
            Some(union) => {
                let named =
                    |chosen| vec![Field { name: name.clone(), offset, bits, shape: Shape::Members(chosen) }];
                tagged.choices = choices(btf, union, 0).into_iter().map(named).collect();
            }
            None => {
                let always = if tagged.choices.is_empty() { &mut tagged.before } else { &mut tagged.after };
                match composite {
                    Some(inner) if name.is_empty() => add_fields(btf, &inner, offset, 1, always),
                    _ if name.is_empty() => {}
                    _ => always.push(Field { name, offset, bits, shape: Shape::of(btf, ty) }),
                }
            }
        }
    }
    (!tagged.choices.is_empty()).then_some(tagged)
}

/// A union of structures that all begin with the same enumeration.
fn union_of_tagged(btf: &Btf<'_>, of: &Composite<'_>) -> Option<Tagged> {
    let mut common: Option<Field> = None;
    let mut choices = Vec::new();
    for member in of.iter() {
        let ty = btf.type_by_id::<BtfType<'_>>(member.ty)?.skip_mods_and_typedefs();
        let structure = Composite::try_from(ty).ok().filter(|_| ty.kind() == BtfKind::Struct)?;
        let tag = tag(btf, &structure)?;
        if common.as_ref().is_some_and(|common| common.shape != tag.shape) {
            return None;
        }
        common = Some(tag);
        let mut fields = Vec::new();
        add_fields(btf, &structure, 0, 1, &mut fields);
        choices.push(fields);
    }
    Some(Tagged { tag: common?, before: Vec::new(), choices, after: Vec::new() })
}

/// The first member, if it is an enumeration.
fn tag(btf: &Btf<'_>, of: &Composite<'_>) -> Option<Field> {
    let first = of.iter().next()?;
    let ty = btf.type_by_id::<BtfType<'_>>(first.ty)?.skip_mods_and_typedefs();
    let is_tag = matches!(ty.kind(), BtfKind::Enum | BtfKind::Enum64)
        && matches!(first.attr, MemberAttr::Normal { offset: 0 });
    is_tag.then(|| Field { name: text(first.name), offset: 0, bits: None, shape: Shape::of(btf, ty) })
}

fn is_union_of_structures(btf: &Btf<'_>, ty: BtfType<'_>, union: &Composite<'_>) -> bool {
    let is_structure = |id| {
        let ty = btf.type_by_id::<BtfType<'_>>(id).map(|ty| ty.skip_mods_and_typedefs());
        ty.is_some_and(|ty| ty.kind() == BtfKind::Struct)
    };
    ty.kind() == BtfKind::Union && !union.is_empty() && union.iter().all(|member| is_structure(member.ty))
}

/// The members of a union that begins at `base`, each for itself; those of one without a name are its own.
fn choices(btf: &Btf<'_>, union: &Composite<'_>, base: usize) -> Vec<Vec<Field>> {
    let choice = |member: CompositeMember<'_>| {
        let mut all = Vec::new();
        let Some(ty) = btf.type_by_id::<BtfType<'_>>(member.ty) else { return all };
        let (name, ty) = (text(member.name), ty.skip_mods_and_typedefs());
        match Composite::try_from(ty) {
            Ok(inner) if name.is_empty() => add_fields(btf, &inner, base, 1, &mut all),
            _ => all.push(Field { name, offset: base, bits: None, shape: Shape::of(btf, ty) }),
        }
        all
    };
    union.iter().map(choice).collect()
}
