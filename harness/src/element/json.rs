//! Elements as JSON.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::shape::{Field, Shape, Tagged};

/// A value of a type, in bytes: an element, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Element<'e> {
    pub(super) shape: &'e Shape,
    /// What it lies in.
    bytes: &'e [u8],
    /// Where in it, in bits.
    offset: usize,
    /// How many bits of it, if it is a bit-field.
    bits: Option<u32>,
    /// Whether there is nothing behind the last byte; otherwise there are zeros.
    is_cut: bool,
}

/// What a value is, when it has no parts.
pub(super) enum Leaf<'e> {
    Number(i128),
    Bool(bool),
    Name(&'e str),
    Float(f64),
    Address(u128),
    Text(&'e [u8]),
    /// Any number of texts, each with a zero behind it.
    Texts(&'e [u8]),
    Bytes(&'e [u8]),
}

impl<'e> Element<'e> {
    /// The element that begins with the first byte.
    pub fn new(shape: &'e Shape, bytes: &'e [u8]) -> Element<'e> {
        Element { shape, bytes, offset: 0, bits: None, is_cut: false }
    }

    /// The record that these bytes are. It has no more fields than they have.
    pub fn record(shape: &'e Shape, bytes: &'e [u8]) -> Element<'e> {
        Element { is_cut: true, ..Element::new(shape, bytes) }
    }

    /// How many bytes there are from its beginning on.
    pub(super) fn available(self) -> usize {
        self.bytes.len().saturating_sub(self.offset / 8)
    }

    /// All bytes from its beginning on.
    pub(super) fn rest(self) -> &'e [u8] {
        self.bytes(usize::MAX)
    }

    /// Its members, if it has some; of those that a tag chooses, those that it has chosen.
    fn members(self) -> Option<impl Iterator<Item = &'e Field>> {
        let parts = match self.shape {
            Shape::Members(fields) => [&fields[..], &[], &[]],
            Shape::Tagged(tagged) => [&tagged.before, tagged.chosen(self), &tagged.after],
            _ => return None,
        };
        Some(parts.into_iter().flatten())
    }

    /// Those of its members that are there.
    pub(super) fn fields(self) -> Option<impl Iterator<Item = (&'e Field, Element<'e>)>> {
        let there = move |field| (field, self.field(field));
        Some(self.members()?.map(there).filter(|(_, element)| element.is_there()))
    }

    /// Whether the bytes have it, or its beginning if it has parts.
    pub(super) fn is_there(self) -> bool {
        let size = match self.shape {
            _ if !self.is_cut => 0,
            Shape::Number { size, .. }
            | Shape::Bool { size }
            | Shape::Enum { size, .. }
            | Shape::Float { size }
            | Shape::Pointer { size }
            | Shape::Opaque { size } => *size,
            Shape::Text { size } => (*size).min(1),
            Shape::Array { count: 0, .. } | Shape::Strings | Shape::Rest { .. } | Shape::Unknown => 0,
            Shape::Array { each, .. } => return Element { shape: each, ..self }.is_there(),
            Shape::Members(_) | Shape::Tagged(_) => {
                let mut members = self.members().into_iter().flatten().peekable();
                return members.peek().is_none() || members.any(|field| self.field(field).is_there());
            }
        };
        self.offset + self.bits.map_or(size * 8, |bits| bits as usize) <= self.bytes.len() * 8
    }

    pub(super) fn field(self, field: &'e Field) -> Element<'e> {
        Element { shape: &field.shape, offset: self.offset + field.offset, bits: field.bits, ..self }
    }

    pub(super) fn items(self) -> impl ExactSizeIterator<Item = Element<'e>> {
        let (each, size, count) = match self.shape {
            Shape::Array { each, size, count } if self.is_cut && *size > 0 => {
                (&**each, *size, (*count).min(self.available() / size))
            }
            Shape::Array { each, size, count } => (&**each, *size, *count),
            Shape::Rest { each, size } if *size > 0 => (&**each, *size, self.available() / size),
            _ => (self.shape, 0, 0),
        };
        (0..count).map(move |i| Element { shape: each, offset: self.offset + i * size * 8, ..self })
    }

    /// The value, unless it is an array or has members.
    pub(super) fn leaf(self) -> Option<Leaf<'e>> {
        Some(match self.shape {
            Shape::Number { size, is_signed } => Leaf::Number(self.number(*size, *is_signed)),
            Shape::Bool { size } => Leaf::Bool(self.number(*size, false) != 0),
            Shape::Enum { size, is_signed, names } => {
                let value = self.number(*size, *is_signed);
                match names.iter().find(|(named, _)| *named == value) {
                    Some((_, name)) => Leaf::Name(name),
                    None => Leaf::Number(value),
                }
            }
            Shape::Float { size: 4 } => Leaf::Float(f32::from_bits(self.raw(4, None) as u32).into()),
            Shape::Float { size: 8 } => Leaf::Float(f64::from_bits(self.raw(8, None) as u64)),
            Shape::Pointer { size } => Leaf::Address(self.raw(*size, None)),
            Shape::Text { size } => {
                let text = self.bytes(*size);
                let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                Leaf::Text(&text[..end])
            }
            Shape::Float { size } | Shape::Opaque { size } => Leaf::Bytes(self.bytes(*size)),
            Shape::Strings => Leaf::Texts(self.rest()),
            Shape::Array { .. }
            | Shape::Rest { .. }
            | Shape::Members(_)
            | Shape::Tagged(_)
            | Shape::Unknown => return None,
        })
    }

    fn bytes(self, size: usize) -> &'e [u8] {
        let bytes = self.bytes.get(self.offset / 8..).unwrap_or_default();
        &bytes[..size.min(bytes.len())]
    }

    /// An integer of up to 16 bytes.
    pub(super) fn number(self, size: usize, is_signed: bool) -> i128 {
        let width = self.bits.unwrap_or(size as u32 * 8).clamp(1, 128);
        let raw = self.raw(size, self.bits);
        if is_signed { (raw << (128 - width)) as i128 >> (128 - width) } else { raw as i128 }
    }

    /// A whole number of bytes, or some bits, of at most 16 bytes, as they lie in the memory of this machine.
    fn raw(self, size: usize, bits: Option<u32>) -> u128 {
        let skipped = if bits.is_some() { self.offset % 8 } else { 0 };
        let width = bits.map_or(size * 8, |bits| bits as usize).min(128 - skipped);
        let bytes = self.bytes((skipped + width).div_ceil(8));
        let mut raw = [0; 16];
        let value = if cfg!(target_endian = "little") {
            raw[..bytes.len()].copy_from_slice(bytes);
            u128::from_le_bytes(raw) >> skipped
        } else {
            raw[16 - bytes.len()..].copy_from_slice(bytes);
            u128::from_be_bytes(raw) >> (bytes.len() * 8).saturating_sub(skipped + width)
        };
        if width >= 128 { value } else { value & ((1 << width) - 1) }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Texts behind one another, with a space between them.
pub(super) fn one_line(texts: &[u8]) -> String {
    let end = texts.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let texts: Vec<_> = texts[..end].split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    texts.join(" ")
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match (self.leaf(), self.shape) {
            (Some(Leaf::Number(number)), _) => to.serialize_i128(number),
            (Some(Leaf::Bool(bool)), _) => to.serialize_bool(bool),
            (Some(Leaf::Name(name)), _) => to.serialize_str(name),
            (Some(Leaf::Float(float)), _) => to.serialize_f64(float),
            (Some(Leaf::Address(address)), _) => to.collect_str(&format_args!("{address:#x}")),
            (Some(Leaf::Text(text)), _) => to.serialize_str(&String::from_utf8_lossy(text)),
            (Some(Leaf::Bytes(bytes)), _) => to.serialize_str(&hexadecimal(bytes)),
            (Some(Leaf::Texts(texts)), _) => to.serialize_str(&one_line(texts)),
            (None, Shape::Unknown) => {
                let mut map = to.serialize_map(Some(2))?;
                map.serialize_entry("size", &self.available())?;
                map.serialize_entry("bytes", &hexadecimal(self.rest()))?;
                map.end()
            }
            (None, Shape::Members(_) | Shape::Tagged(_)) => {
                let mut map = to.serialize_map(None)?;
                for (field, element) in self.fields().into_iter().flatten() {
                    map.serialize_entry(&field.name, &element)?;
                }
                map.end()
            }
            (None, _) => {
                let items = self.items();
                let mut sequence = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    sequence.serialize_element(&item)?;
                }
                sequence.end()
            }
        }
    }
}

impl Tagged {
    /// Which members the tag in this element has chosen: none, if it has no enumerator's value or there are fewer members.
    pub(super) fn choice(&self, element: Element<'_>) -> Option<usize> {
        let Shape::Enum { size, is_signed, names } = &self.tag.shape else { return None };
        let tag = Some(element.field(&self.tag)).filter(|tag| tag.is_there())?;
        let value = tag.number(*size, *is_signed);
        let number = names.iter().position(|(named, _)| *named == value)?;
        (number < self.choices.len()).then_some(number)
    }

    /// Those members.
    pub(super) fn chosen(&self, element: Element<'_>) -> &[Field] {
        self.choice(element).map_or(&[], |number| &self.choices[number])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::super::shape::{Field, Shape};
    use super::Element;

    const INT: Shape = Shape::Number { size: 4, is_signed: true };

    fn field(name: &str, offset: usize, shape: Shape) -> Field {
        Field { name: name.to_owned(), offset: offset * 8, bits: None, shape }
    }

    fn shown(shape: &Shape, bytes: &[u8]) -> serde_json::Value {
        to_value(Element::new(shape, bytes)).expect("memory can be written to")
    }

    #[test]
    fn numbers_are_exact_and_what_is_named_is_named() {
        let unsigned = Shape::Number { size: 8, is_signed: false };
        assert_eq!(shown(&unsigned, &u64::MAX.to_ne_bytes()), json!(u64::MAX));
        assert_eq!(shown(&INT, &(-7i32).to_ne_bytes()), json!(-7));
        assert_eq!(shown(&Shape::Bool { size: 1 }, &[1]), json!(true));
        assert_eq!(shown(&Shape::Float { size: 8 }, &1.5f64.to_ne_bytes()), json!(1.5));
        assert_eq!(shown(&Shape::Float { size: 4 }, &(-0.25f32).to_ne_bytes()), json!(-0.25));
        assert_eq!(
            shown(&Shape::Pointer { size: 8 }, &0xffff_8000_1234u64.to_ne_bytes()),
            json!("0xffff80001234")
        );
        let named = Shape::Enum { size: 4, is_signed: true, names: vec![(-1, "LESS".to_owned())] };
        assert_eq!(shown(&named, &(-1i32).to_ne_bytes()), json!("LESS"));
        assert_eq!(shown(&named, &5i32.to_ne_bytes()), json!(5), "a value without a name");
    }

    #[test]
    fn text_ends_at_the_first_zero_and_need_not_have_one() {
        let text = Shape::Text { size: 4 };
        assert_eq!(shown(&text, b"ab\0d"), json!("ab"));
        assert_eq!(shown(&text, b"abcd"), json!("abcd"));
        assert_eq!(shown(&text, b"a\xff\0\0"), json!("a\u{fffd}"), "not UTF-8");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn bits_are_taken_from_where_they_lie() {
        let bits = |name: &str, offset, bits, is_signed| Field {
            bits: Some(bits),
            ..Field { offset, ..field(name, 0, Shape::Number { size: 8, is_signed }) }
        };
        let shape =
            Shape::Members(vec![bits("a", 0, 3, false), bits("b", 3, 4, true), bits("c", 7, 57, false)]);
        let word = 0b101u64 | (0b1110 << 3) | (0x123_4567_89ab << 7);
        assert_eq!(shown(&shape, &word.to_ne_bytes()), json!({"a": 5, "b": -2, "c": 0x123_4567_89abu64}));
    }

    #[test]
    fn what_has_parts_is_shown_with_its_parts_and_what_is_cut_off_is_zero() {
        let pair = Shape::Members(vec![field("x", 0, INT), field("y", 4, INT)]);
        let shape = Shape::Members(vec![
            field("pairs", 0, Shape::Array { each: Box::new(pair), size: 8, count: 2 }),
            field("none", 16, Shape::Array { each: Box::new(INT), size: 4, count: 0 }),
        ]);
        let bytes: Vec<u8> = [1i32, 2, 3, 4].into_iter().flat_map(i32::to_ne_bytes).collect();
        let expected = json!({"pairs": [{"x": 1, "y": 2}, {"x": 3, "y": 4}], "none": []});
        assert_eq!(shown(&shape, &bytes), expected);
        assert_eq!(shown(&shape, &bytes[..12])["pairs"][1], json!({"x": 3, "y": 0}));
        assert_eq!(shown(&shape, &[])["pairs"][0]["x"], json!(0));
    }
}
