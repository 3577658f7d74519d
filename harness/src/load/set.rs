//! The program's variables that get their value from the command line.

use std::ffi::OsStr;

use libbpf_rs::OpenObject;
use libbpf_rs::btf::types::{DataSec, Linkage, Var};
use libbpf_rs::btf::{Btf, ReferencesType};

use crate::element::{self, Shape};
use crate::error::Error;

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// Its value; `{pid}` in it stands for the process id of the command.
    pub value: String,
}

/// Where a variable lies, and what it is.
struct Place {
    section: String,
    offset: usize,
    size: usize,
    shape: Shape,
    is_static: bool,
}

/// Gives variables their values, before the load.
pub(super) fn apply(
    object: &mut OpenObject,
    settings: &[Setting],
    command: Option<u32>,
) -> Result<(), Error> {
    for Setting { name, value } in settings {
        let refuse = |reason: String| Error::Usage(format!("--set {name}={value}: {reason}"));
        let value = match command {
            Some(id) => value.replace("{pid}", &id.to_string()),
            None if value.contains("{pid}") => {
                return Err(refuse(
                    "{pid} is the process id of the command: give one, behind `--`".to_owned(),
                ));
            }
            None => value.clone(),
        };
        let place = {
            let btf = element::btf(object)?;
            find(&btf, name).map_err(refuse)?
        };
        let bytes = encode(&place.shape, place.size, &value).map_err(refuse)?;
        let written = object.maps_mut().find(|map| is_of(map.name(), &place.section)).and_then(|mut map| {
            let all = map.initial_value_mut()?;
            all.get_mut(place.offset..place.offset + bytes.len())?.copy_from_slice(&bytes);
            Some(())
        });
        written.ok_or_else(|| refuse(format!("libbpf made no map of the section {}", place.section)))?;
    }
    Ok(())
}

const READ_ONLY: &str = ".rodata";

/// Whether a map is that of a section. Those of the sections without a further name have the object's before it.
fn is_of(map: &OsStr, section: &str) -> bool {
    let map = map.to_string_lossy();
    if section == READ_ONLY { map.ends_with(section) } else { map == section }
}

fn find(btf: &Btf<'_>, name: &str) -> Result<Place, String> {
    let mut others = Vec::new();
    for section in btf.type_by_kind::<DataSec<'_>>() {
        let section_name = section.name().unwrap_or_default().to_string_lossy().into_owned();
        for entry in section.iter() {
            let Some(variable) = btf.type_by_id::<Var<'_>>(entry.ty) else { continue };
            let found = variable.name().unwrap_or_default().to_string_lossy();
            let is_read_only = section_name.starts_with(READ_ONLY);
            if found != name {
                others.extend(is_read_only.then(|| found.into_owned()));
                continue;
            }
            if !is_read_only {
                return Err(format!("it lies in the section {section_name}: declare it `const volatile`"));
            }
            let place = Place {
                section: section_name,
                offset: entry.offset as usize,
                size: entry.size,
                shape: Shape::of(btf, variable.referenced_type()),
                is_static: variable.linkage() != Linkage::Global,
            };
            // libbpf does not say where a static variable lies.
            return if place.is_static { Err("it is static: make it global".to_owned()) } else { Ok(place) };
        }
    }
    let has = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
    Err(format!("the program has no such `const volatile` variable. It has: {has}"))
}

/// A value as it lies in memory.
fn encode(shape: &Shape, size: usize, text: &str) -> Result<Vec<u8>, String> {
    match shape {
        Shape::Number { size, is_signed } => number(text, *size, *is_signed),
        Shape::Bool { .. } => match text {
            "true" | "1" => Ok(vec![1]),
            "false" | "0" => Ok(vec![0]),
            _ => Err("it is a bool: true or false".to_owned()),
        },
        Shape::Enum { size, is_signed, names } => match names.iter().find(|(_, name)| name == text) {
            Some((value, _)) => number(&value.to_string(), *size, *is_signed),
            None => number(text, *size, *is_signed).map_err(|_| {
                let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
                format!("it is an enum: {}", names.join(", "))
            }),
        },
        Shape::Float { size: 4 } => text
            .parse::<f32>()
            .map(|float| float.to_ne_bytes().to_vec())
            .map_err(|_| "it is a float".to_owned()),
        Shape::Float { size: 8 } => text
            .parse::<f64>()
            .map(|float| float.to_ne_bytes().to_vec())
            .map_err(|_| "it is a double".to_owned()),
        Shape::Text { size } if text.len() < *size => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(*size, 0);
            Ok(bytes)
        }
        Shape::Text { size } => Err(format!("it has room for {} bytes", size.saturating_sub(1))),
        Shape::Float { .. }
        | Shape::Pointer { .. }
        | Shape::Array { .. }
        | Shape::Members(_)
        | Shape::Tagged(_)
        | Shape::Strings
        | Shape::Rest { .. }
        | Shape::Unknown
        | Shape::Opaque { .. } => Err(format!(
            "it has {size} bytes and is no number, bool, enum or text: set others in the program"
        )),
    }
}

fn number(text: &str, size: usize, is_signed: bool) -> Result<Vec<u8>, String> {
    let bits = (size as u32 * 8).clamp(1, 64);
    let (least, most) = if is_signed {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    };
    let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let parsed = match hexadecimal {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => digits.parse::<i128>(),
    };
    let value = parsed
        .ok()
        .filter(|_| !digits.starts_with(['+', '-']))
        .map(|value| if is_negative { -value } else { value });
    match value {
        Some(value) if (least..=most).contains(&value) => {
            let bytes = value.to_ne_bytes();
            let part =
                if cfg!(target_endian = "little") { &bytes[..size] } else { &bytes[bytes.len() - size..] };
            Ok(part.to_vec())
        }
        _ => Err(format!("it is a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, encode};

    #[test]
    fn a_value_is_taken_if_it_fits_the_type() {
        let number = |size, is_signed| Shape::Number { size, is_signed };
        let names = vec![(0, "NO".to_owned()), (7, "YES".to_owned())];
        let named = Shape::Enum { size: 4, is_signed: false, names };
        for (shape, text, bytes) in [
            (number(4, false), "4294967295", u32::MAX.to_ne_bytes().to_vec()),
            (number(4, false), "0x10", 16u32.to_ne_bytes().to_vec()),
            (number(1, true), "-128", vec![0x80]),
            (number(2, true), "-0x1", vec![0xff, 0xff]),
            (number(8, false), "18446744073709551615", vec![0xff; 8]),
            (Shape::Bool { size: 1 }, "true", vec![1]),
            (named.clone(), "YES", 7u32.to_ne_bytes().to_vec()),
            (named.clone(), "9", 9u32.to_ne_bytes().to_vec()),
            (Shape::Text { size: 4 }, "abc", b"abc\0".to_vec()),
            (Shape::Float { size: 8 }, "1.5", 1.5f64.to_ne_bytes().to_vec()),
        ] {
            assert_eq!(encode(&shape, bytes.len(), text), Ok(bytes), "{text}");
        }
        for (shape, text, says) in [
            (number(4, false), "4294967296", "from 0 to 4294967295"),
            (number(4, false), "-1", "from 0 to"),
            (number(1, true), "128", "from -128 to 127"),
            (number(8, false), "many", "a number from 0 to 18446744073709551615"),
            (number(4, false), "--1", "a number"),
            (number(4, false), "", "a number"),
            (Shape::Bool { size: 1 }, "2", "true or false"),
            (named, "MAYBE", "NO, YES"),
            (Shape::Text { size: 4 }, "abcd", "room for 3 bytes"),
            (Shape::Pointer { size: 8 }, "0", "no number"),
        ] {
            let error = encode(&shape, 8, text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
