//! The shared layouts as three sides see them: Rust, the C header, and the BTF of the compiled BPF object.

use std::ffi::{CStr, c_char};

use arenaq::structures::layouts;
use arenaq_bpf_build::Instructions;
use libbpf_rs::Btf;
use libbpf_rs::btf::types::{MemberAttr, Struct};
use serde::Serialize;

use crate::object::programs;
use crate::screen::Screen;

/// One field, or the size of a structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The structure's name in C.
    pub structure: &'static str,
    /// The field's name in C; `(size)` for the structure itself.
    pub field: &'static str,
    /// What Rust says, in bytes.
    pub rust: usize,
    /// What the public header says to a C compiler.
    pub header: Option<usize>,
    /// What the BTF of the BPF object says.
    pub btf: Option<usize>,
}

impl Row {
    /// Whether all three agree.
    pub fn agrees(&self) -> bool {
        self.header == Some(self.rust) && self.btf == Some(self.rust)
    }
}

/// The name of the row with a structure's size.
pub const SIZE: &str = "(size)";

#[repr(C)]
struct HeaderRow {
    structure: *const c_char,
    field: *const c_char,
    bytes: u64,
}

unsafe extern "C" {
    /// `layout.c`, compiled by the host's C compiler; ends with a row of nulls.
    static arenaq_header_layout: HeaderRow;
}

/// What the C compiler has made of a field of the public header.
fn header(structure: &str, field: &str) -> Option<usize> {
    let mut row = &raw const arenaq_header_layout;
    loop {
        // SAFETY: the table is constant, its strings are literals, and the loop ends at the row of nulls at
        // its end.
        let (entry, name, member) = unsafe {
            let entry = &*row;
            if entry.structure.is_null() {
                return None;
            }
            (entry, CStr::from_ptr(entry.structure), CStr::from_ptr(entry.field))
        };
        if name.to_bytes() == structure.as_bytes() && member.to_bytes() == field.as_bytes() {
            return usize::try_from(entry.bytes).ok();
        }
        // SAFETY: this was not the last row.
        row = unsafe { row.add(1) };
    }
}

/// What the object's BTF says of a field.
fn btf(types: &Btf<'_>, structure: &str, field: &str) -> Option<usize> {
    let structure: Struct<'_> = types.type_by_name(structure)?;
    if field == SIZE {
        use libbpf_rs::btf::HasSize;
        return Some(structure.size());
    }
    structure.iter().find(|member| member.name.is_some_and(|name| name == field)).and_then(|member| {
        match member.attr {
            MemberAttr::Normal { offset } => Some(offset as usize / 8),
            MemberAttr::BitField { .. } => None,
        }
    })
}

/// Every field of every shared structure.
///
/// # Errors
///
/// What libbpf says if the object has no BTF.
pub fn table() -> Result<Vec<Row>, String> {
    let types = Btf::from_raw("arenaq", programs(Instructions::AcquireRelease))
        .map_err(|error| format!("{error:#}"))?
        .ok_or("the BPF object has no BTF")?;
    let rows = layouts().flat_map(|structure| {
        let fields = structure.fields.iter().copied();
        fields.chain([(SIZE, structure.size)]).map(|(field, rust)| (structure.name, field, rust))
    });
    Ok(rows
        .map(|(structure, field, rust)| Row {
            structure,
            field,
            rust,
            header: header(structure, field),
            btf: btf(&types, structure, field),
        })
        .collect())
}

/// The rows as text.
pub fn text(rows: &[Row], screen: Screen) -> String {
    let is_narrow = screen.is_narrower_than(67);
    let line = |structure: &str, field: &str, rust: &str, header: &str, btf: &str, mark: &str| {
        let line = if is_narrow {
            format!("  {field:<15} {rust:>4} {header:>8} {btf:>4}")
        } else {
            format!("{structure:<17} {field:<13} {rust:>6} {header:>9} {btf:>6}{mark}")
        };
        if mark.is_empty() { line } else { screen.alarm(&line) }
    };
    let number = |value: Option<usize>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let mut lines = vec![line("structure", "field", "Rust", "C header", "BTF", "")];
    let mut last = "";
    for row in rows {
        let structure = if row.structure == last { "" } else { row.structure };
        if is_narrow && !structure.is_empty() {
            lines.push(structure.to_owned());
        }
        last = row.structure;
        let mark = if row.agrees() { "" } else { "   DIFFERENT" };
        let (rust, header, btf) = (row.rust.to_string(), number(row.header), number(row.btf));
        lines.push(line(structure, row.field, &rust, &header, &btf, mark));
        if is_narrow && !mark.is_empty() {
            lines.push(mark.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Row, table, text};
    use crate::screen::{Screen, longest_line};

    #[test]
    fn the_table_fits_the_terminal_also_where_the_sides_differ() {
        let mut rows = table().expect("the object has BTF");
        rows[0].btf = None;
        assert!(!rows[0].agrees() && rows[1..].iter().all(Row::agrees));
        for columns in [40, 66, 67, 80] {
            let text = text(&rows, Screen::terminal(columns, false));
            assert!(longest_line(&text) <= columns, "{columns}:\n{text}");
            assert_eq!(text.matches("DIFFERENT").count(), 1, "{text}");
            assert!(
                rows.iter().all(|row| text.contains(row.structure) && text.contains(row.field)),
                "{text}"
            );
        }
    }
}
