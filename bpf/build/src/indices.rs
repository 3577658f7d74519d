//! Lets no arena pointer be added to a number.
//!
//! An index that is known only at run time becomes an addition of two registers, and either may be the one that is changed: LLVM
//! chooses. Some kernels (Linux 6.18.15 is one, 6.18.44 is not) let a number be added to an arena pointer, and refuse to let an arena
//! pointer be added to a number: `pointer arithmetic on arena prohibited`. So here the index is added before the backend makes an
//! arena pointer of the address, where both are numbers.
//!
//! A line that looks otherwise than expected, such as one for elements that are structures, stays as it is: LLVM chooses there.

use crate::offsets::without_flags;

/// The module with the indices of its accesses to arenas added to numbers.
pub(crate) fn before_casts(ir: &str) -> String {
    let mut result = String::with_capacity(ir.len());
    for line in ir.lines() {
        match Element::parse(line) {
            Some(element) => result.push_str(&element.of_numbers()),
            None => {
                result.push_str(line);
                result.push('\n');
            }
        }
    }
    result
}

/// The address of an element in an arena, by an index that is no constant.
struct Element<'a> {
    name: &'a str,
    /// How many bytes an element has.
    size: u64,
    base: &'a str,
    index: &'a str,
    /// Where in the program it is, for those who debug it.
    place: &'a str,
}

impl<'a> Element<'a> {
    fn parse(line: &'a str) -> Option<Element<'a>> {
        let (name, definition) = line.trim_start().split_once(" = getelementptr ")?;
        let (of, operands) = without_flags(definition).split_once(", ptr addrspace(1) ")?;
        let (base, index) = operands.split_once(", i64 ")?;
        // An element of an array that is given whole.
        let (of, index) = match index.strip_prefix("0, i64 ") {
            Some(index) => (of.strip_prefix('[')?.strip_suffix(']')?.split_once(" x ")?.1, index),
            None => (of, index),
        };
        let (index, place) = index.split_once(", ").unwrap_or((index, ""));
        // What has more indices is a field of an element.
        let is_one = index.starts_with('%') && (place.is_empty() || place.starts_with('!'));
        is_one.then_some(Element { name, size: size_of(of)?, base, index, place })
    }

    fn of_numbers(&self) -> String {
        let Element { name, size, base, index, place } = self;
        let label = name.trim_start_matches('%').trim_matches('"');
        let place = if place.is_empty() { String::new() } else { format!(", {place}") };
        format!(
            "  %\"number.{label}\" = ptrtoint ptr addrspace(1) {base} to i64{place}\n  \
             %\"offset.{label}\" = mul i64 {index}, {size}{place}\n  \
             %\"sum.{label}\" = add i64 %\"number.{label}\", %\"offset.{label}\"{place}\n  \
             {name} = inttoptr i64 %\"sum.{label}\" to ptr addrspace(1){place}\n"
        )
    }
}

/// The size of a number, or of an array of bytes: what is left of other types once it was optimised.
fn size_of(of: &str) -> Option<u64> {
    if let Some(bits) = of.strip_prefix('i') {
        return bits.parse::<u64>().ok().map(|bits| bits.div_ceil(8));
    }
    of.strip_prefix('[')?.strip_suffix(" x i8]")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::before_casts;

    #[test]
    fn an_index_is_added_to_the_number_that_the_pointer_is() {
        assert_eq!(
            before_casts("  %4 = getelementptr inbounds nuw i64, ptr addrspace(1) %2, i64 %3, !dbg !5\n"),
            "  %\"number.4\" = ptrtoint ptr addrspace(1) %2 to i64, !dbg !5\n  \
             %\"offset.4\" = mul i64 %3, 8, !dbg !5\n  \
             %\"sum.4\" = add i64 %\"number.4\", %\"offset.4\", !dbg !5\n  \
             %4 = inttoptr i64 %\"sum.4\" to ptr addrspace(1), !dbg !5\n"
        );
        let of_variable =
            before_casts("  %\"a b\" = getelementptr [24 x i8], ptr addrspace(1) @ring, i64 %i\n");
        assert!(
            of_variable.contains("%\"number.a b\" = ptrtoint ptr addrspace(1) @ring to i64\n"),
            "{of_variable}"
        );
        assert!(of_variable.contains("%\"offset.a b\" = mul i64 %i, 24\n"), "{of_variable}");
        let of_array =
            before_casts("  %4 = getelementptr inbounds [9 x i32], ptr addrspace(1) %2, i64 0, i64 %3\n");
        assert!(of_array.contains("mul i64 %3, 4\n"), "{of_array}");
    }

    #[test]
    fn constants_other_pointers_and_fields_stay() {
        for line in [
            "  %4 = getelementptr inbounds nuw i8, ptr addrspace(1) %2, i64 16, !dbg !5\n",
            "  %4 = getelementptr inbounds nuw i64, ptr %2, i64 %3\n",
            "  %4 = getelementptr %struct.a, ptr addrspace(1) %2, i64 %3, i32 1\n",
            "  %4 = getelementptr [4 x %struct.a], ptr addrspace(1) %2, i64 0, i64 %3\n",
            "  %4 = load i64, ptr addrspace(1) %3, align 8\n",
        ] {
            assert_eq!(before_casts(line), line);
        }
    }
}
