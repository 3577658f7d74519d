//! Values as people read them on a terminal.

use super::json::{Element, Leaf, hexadecimal, one_line};
use super::shape::Shape;

/// A value in one line. What a program has put into a text cannot move the cursor.
pub(super) fn text(element: Element<'_>) -> String {
    match (element.leaf(), element.shape) {
        (Some(Leaf::Number(number)), _) => number.to_string(),
        (Some(Leaf::Bool(bool)), _) => bool.to_string(),
        (Some(Leaf::Name(name)), _) => name.to_owned(),
        (Some(Leaf::Float(float)), _) => float.to_string(),
        (Some(Leaf::Address(address)), _) => format!("{address:#x}"),
        (Some(Leaf::Text(text)), _) => printable(&String::from_utf8_lossy(text)),
        (Some(Leaf::Texts(texts)), _) => printable(&one_line(texts)),
        (Some(Leaf::Bytes(bytes)), _) => hexadecimal(bytes),
        (None, Shape::Unknown) => format!("{} {}", element.available(), hexadecimal(element.rest())),
        (None, Shape::Members(_) | Shape::Tagged(_)) => {
            let fields = element.fields().into_iter().flatten();
            let fields = fields.map(|(field, element)| format!("{}={}", field.name, text(element)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
        }
        (None, _) => format!("[{}]", element.items().map(text).collect::<Vec<_>>().join(" ")),
    }
}

fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
