//! Lets the accesses to one structure of an arena share its address.
//!
//! arenaq's Rust hands each address to the shim as a number, and the shim makes an arena pointer of it. So LLVM sees a field's address
//! computed first, and then cast; the BPF backend casts anew for each field, where C, which has arena pointers all along, casts the
//! structure's address once and gives the offset in the access. Here the two change places: the number is cast, and the offset is
//! added to the pointer. The next pass of the optimiser makes one of casts that are the same.
//!
//! The two are the same address: the kernel casts by taking the low 32 bits, no arena crosses a boundary of 4 GiB, and no structure
//! leaves its arena.
//!
//! A line that looks otherwise than expected stays as it is: then it is right, and slower.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Offsets beyond that do not fit into an access.
const FARTHEST: i64 = i16::MAX as i64;

/// The module with the offsets of its accesses to arenas added to pointers.
pub(crate) fn behind_casts(ir: &str) -> String {
    let mut result = String::with_capacity(ir.len());
    let mut lines = ir.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("define ") {
            push_line(&mut result, line);
            continue;
        }
        let mut body = vec![line];
        while let Some(line) = lines.next_if(|line| *line != "}") {
            body.push(line);
        }
        let computed: HashMap<_, _> = body.iter().filter_map(|line| Computed::parse(line)).collect();
        for line in body {
            match Cast::parse(line).and_then(|cast| cast.split(&computed)) {
                Some(split) => result.push_str(&split),
                None => push_line(&mut result, line),
            }
        }
    }
    result
}

fn push_line(result: &mut String, line: &str) {
    result.push_str(&constants_behind_casts(line));
    result.push('\n');
}

/// What a name stands for, if that is another one and an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Computed<'a> {
    /// A number, more than another one.
    Sum(&'a str, i64),
    /// A pointer, further than another one.
    Further(&'a str, i64),
    /// A pointer as a number.
    Number(&'a str),
}

impl<'a> Computed<'a> {
    /// The definition in a line.
    fn parse(line: &'a str) -> Option<(&'a str, Computed<'a>)> {
        let (name, definition) = line.trim_start().split_once(" = ")?;
        let (operation, operands) = definition.split_once(' ')?;
        let operands = without_flags(operands);
        let computed = match operation {
            "add" => {
                let (base, offset) = operands.strip_prefix("i64 ")?.split_once(", ")?;
                Computed::Sum(base, leading_number(offset)?)
            }
            "getelementptr" => {
                let (base, offset) = operands.strip_prefix("i8, ptr ")?.split_once(", i64 ")?;
                Computed::Further(base, leading_number(offset)?)
            }
            "ptrtoint" => Computed::Number(operands.strip_prefix("ptr ")?.split_once(" to i64")?.0),
            _ => return None,
        };
        Some((name, computed))
    }
}

/// What LLVM promises of a computation is of no use behind the cast.
pub(crate) fn without_flags(mut operands: &str) -> &str {
    while let Some((flag, rest)) = operands.split_once(' ')
        && ["inbounds", "nuw", "nsw", "nusw"].contains(&flag)
    {
        operands = rest;
    }
    operands
}

fn leading_number(text: &str) -> Option<i64> {
    text.split([',', ' ']).next()?.parse().ok()
}

/// A number that becomes an arena pointer.
struct Cast<'a> {
    name: &'a str,
    number: &'a str,
    /// Where in the program it is, for those who debug it.
    place: &'a str,
}

impl<'a> Cast<'a> {
    fn parse(line: &'a str) -> Option<Cast<'a>> {
        let (name, cast) = line.trim_start().split_once(" = inttoptr i64 ")?;
        let (number, place) = cast.split_once(" to ptr addrspace(1)")?;
        Some(Cast { name, number, place })
    }

    /// The cast of what the number is computed from, and what is added to it then; `None` if that is nothing.
    fn split(&self, computed: &HashMap<&str, Computed<'_>>) -> Option<String> {
        let (mut base, mut offset, mut is_number) = (self.number, 0, true);
        while let Some(&from) = computed.get(base) {
            match (from, is_number) {
                (Computed::Sum(other, more), true) | (Computed::Further(other, more), false) => {
                    (base, offset) = (other, offset + more);
                }
                (Computed::Number(other), true) => (base, is_number) = (other, false),
                _ => break,
            }
        }
        if offset == 0 || offset.abs() > FARTHEST {
            return None;
        }
        let Cast { name, place, .. } = self;
        let label = name.trim_start_matches('%').trim_matches('"');
        let mut split = String::new();
        let mut number = base.to_owned();
        if !is_number {
            number = format!("%\"number.{label}\"");
            writeln!(split, "  {number} = ptrtoint ptr {base} to i64").ok()?;
        }
        writeln!(split, "  %\"base.{label}\" = inttoptr i64 {number} to ptr addrspace(1){place}").ok()?;
        writeln!(
            split,
            "  {name} = getelementptr i8, ptr addrspace(1) %\"base.{label}\", i64 {offset}{place}"
        )
        .ok()?;
        Some(split)
    }
}

/// The same for the addresses of variables, which are constants within a line.
fn constants_behind_casts(line: &str) -> String {
    const BEFORE: &str = "inttoptr (i64 ptrtoint (ptr getelementptr ";
    let mut result = String::new();
    let mut rest = line;
    while let Some((before, constant)) = rest.split_once(BEFORE) {
        result.push_str(before);
        if let Some((variable, offset, behind)) = of_variable(constant) {
            result.push_str(&format!("getelementptr (i8, ptr addrspace(1) {variable}, i64 {offset})"));
            rest = behind;
        } else {
            result.push_str(BEFORE);
            rest = constant;
        }
    }
    result.push_str(rest);
    result
}

/// The variable, the offset, and what comes behind the constant.
fn of_variable(constant: &str) -> Option<(&str, i64, &str)> {
    let constant = without_flags(constant);
    let constant = constant.strip_prefix("(i8, ptr inttoptr (i64 ptrtoint (ptr addrspace(1) ")?;
    let (variable, constant) = constant.split_once(" to i64) to ptr), i64 ")?;
    let (offset, behind) = constant.split_once(") to i64) to ptr addrspace(1))")?;
    Some((variable, offset.parse().ok()?, behind))
}

#[cfg(test)]
mod tests {
    use super::behind_casts;

    fn assert_becomes(body: &str, expected: &str) {
        let module = |body: &str| format!("define i64 @f(ptr %0, i64 %1) {{\n{body}\n}}\n");
        assert_eq!(behind_casts(&module(body)), module(expected));
    }

    #[test]
    fn an_offset_that_was_added_before_the_cast_is_added_behind_it() {
        assert_becomes(
            "  %2 = add nuw i64 %1, 8, !dbg !3\n  %3 = inttoptr i64 %2 to ptr addrspace(1), !dbg !4",
            "  %2 = add nuw i64 %1, 8, !dbg !3\n  \
             %\"base.3\" = inttoptr i64 %1 to ptr addrspace(1), !dbg !4\n  \
             %3 = getelementptr i8, ptr addrspace(1) %\"base.3\", i64 8, !dbg !4",
        );
    }

    #[test]
    fn the_offset_of_a_field_is_found_behind_the_number() {
        assert_becomes(
            "  %x.y = getelementptr inbounds nuw i8, ptr %0, i64 -16\n  \
             %\"2\" = ptrtoint ptr %x.y to i64, !dbg !3\n  \
             %3 = inttoptr i64 %\"2\" to ptr addrspace(1)",
            "  %x.y = getelementptr inbounds nuw i8, ptr %0, i64 -16\n  \
             %\"2\" = ptrtoint ptr %x.y to i64, !dbg !3\n  \
             %\"number.3\" = ptrtoint ptr %0 to i64\n  \
             %\"base.3\" = inttoptr i64 %\"number.3\" to ptr addrspace(1)\n  \
             %3 = getelementptr i8, ptr addrspace(1) %\"base.3\", i64 -16",
        );
    }

    #[test]
    fn a_field_of_a_variable_is_one_constant() {
        assert_becomes(
            "  %2 = load i64, ptr addrspace(1) inttoptr (i64 ptrtoint (ptr getelementptr inbounds nuw (i8, ptr inttoptr \
             (i64 ptrtoint (ptr addrspace(1) @log to i64) to ptr), i64 16) to i64) to ptr addrspace(1)), align 8",
            "  %2 = load i64, ptr addrspace(1) getelementptr (i8, ptr addrspace(1) @log, i64 16), align 8",
        );
    }

    #[test]
    fn what_no_access_can_hold_and_what_is_no_sum_stays() {
        for body in [
            "  %2 = add i64 %1, 40000\n  %3 = inttoptr i64 %2 to ptr addrspace(1)",
            "  %2 = add i64 %1, %1\n  %3 = inttoptr i64 %2 to ptr addrspace(1)",
            "  %2 = mul i64 %1, 8\n  %3 = inttoptr i64 %2 to ptr addrspace(1)",
            "  %2 = add i64 %1, 8\n  %3 = inttoptr i64 %2 to ptr",
        ] {
            assert_becomes(body, body);
        }
    }
}
