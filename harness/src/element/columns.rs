//! Elements as the rows of a table.

use textwrap::core::display_width;

use super::json::{Element, hexadecimal};
use super::shape::{Field, Shape};
use super::text::text;

/// The columns of a queue's elements: a member each, and the members of members by `outer.inner`. A column grows with what
/// comes.
#[derive(Clone, Debug)]
pub struct Columns {
    shape: Shape,
    /// Whether the elements are records, which have no more fields than their size has.
    are_records: bool,
    titles: Vec<String>,
    widths: Vec<usize>,
    /// Numbers are aligned to the right.
    are_numbers: Vec<bool>,
    /// The column of each member: those of the same name, of which a tag chooses one, share one.
    places: Vec<usize>,
}

/// One element, a cell for each column.
#[derive(Clone, Debug)]
pub struct Row(Vec<String>);

/// Wider ones would push everything behind them out of the terminal.
const WIDEST: usize = 64;

impl Columns {
    /// The columns of elements of a shape.
    pub fn new(shape: Shape) -> Columns {
        let (mut titles, mut are_numbers, mut places) = (Vec::<String>::new(), Vec::new(), Vec::new());
        name(&shape, "", &mut |title, is_number| {
            let title = if title.is_empty() { "value" } else { title };
            let place = titles.iter().position(|known| known == title).unwrap_or_else(|| {
                titles.push(title.to_owned());
                are_numbers.push(true);
                titles.len() - 1
            });
            are_numbers[place] &= is_number;
            places.push(place);
        });
        let widths = titles.iter().map(|title| display_width(title)).collect();
        Columns { shape, are_records: false, titles, widths, are_numbers, places }
    }

    /// The columns of records of a shape. What a record does not have is left blank.
    pub fn of_records(shape: Shape) -> Columns {
        Columns { are_records: true, ..Columns::new(shape) }
    }

    /// The element that these bytes are.
    pub fn element<'e>(&'e self, bytes: &'e [u8]) -> Element<'e> {
        if self.are_records { Element::record(&self.shape, bytes) } else { Element::new(&self.shape, bytes) }
    }

    /// The titles, as a row.
    pub fn titles(&self) -> Row {
        Row(self.titles.clone())
    }

    /// The row of an element. The columns are as wide as it wants from now on.
    pub fn row(&mut self, bytes: &[u8]) -> Row {
        let mut cells = vec![String::new(); self.titles.len()];
        let mut places = self.places.iter();
        fill(&self.shape, Some(self.element(bytes)), &mut |cell| {
            let (Some(place), Some(cell)) = (places.next(), cell) else { return };
            cells[*place] = cell;
        });
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(display_width(cell).min(WIDEST));
        }
        Row(cells)
    }

    /// A row in one line.
    pub fn line(&self, Row(cells): &Row) -> String {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let missing = self.widths[i].saturating_sub(display_width(cell));
            let padding = " ".repeat(missing);
            if i > 0 {
                line.push_str("  ");
            }
            if self.are_numbers[i] {
                line.push_str(&padding);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                if i + 1 < cells.len() {
                    line.push_str(&padding);
                }
            }
        }
        line
    }
}

/// Names the columns of a shape in their order.
fn name(shape: &Shape, prefix: &str, found: &mut impl FnMut(&str, bool)) {
    let mut each = |field: &Field| {
        let title = if prefix.is_empty() { field.name.clone() } else { format!("{prefix}.{}", field.name) };
        name(&field.shape, &title, found);
    };
    match shape {
        Shape::Members(fields) => fields.iter().for_each(each),
        Shape::Tagged(tagged) => {
            tagged.before.iter().for_each(&mut each);
            tagged.choices.iter().flatten().for_each(&mut each);
            tagged.after.iter().for_each(each);
        }
        Shape::Unknown => {
            found("size", true);
            found("bytes", false);
        }
        shape => {
            found(
                prefix,
                matches!(shape, Shape::Number { .. } | Shape::Float { .. } | Shape::Pointer { .. }),
            );
        }
    }
}

/// The cells of an element, in the order of [`name`]: nothing for what is not there.
fn fill<'e>(shape: &'e Shape, element: Option<Element<'e>>, cell: &mut dyn FnMut(Option<String>)) {
    let mut each = |field: &'e Field, owner: Option<Element<'e>>| {
        let part = owner.map(|owner| owner.field(field)).filter(|part| part.is_there());
        fill(&field.shape, part, cell);
    };
    match shape {
        Shape::Members(fields) => fields.iter().for_each(|field| each(field, element)),
        Shape::Tagged(tagged) => {
            let chosen = element.and_then(|element| tagged.choice(element));
            tagged.before.iter().for_each(|field| each(field, element));
            for (number, fields) in tagged.choices.iter().enumerate() {
                let element = element.filter(|_| chosen == Some(number));
                fields.iter().for_each(|field| each(field, element));
            }
            tagged.after.iter().for_each(|field| each(field, element));
        }
        Shape::Unknown => {
            cell(element.map(|element| element.available().to_string()));
            cell(element.map(|element| hexadecimal(element.rest())));
        }
        _ => cell(element.map(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::{Field, Shape, Tagged};
    use super::Columns;

    #[test]
    fn members_of_members_are_columns_and_columns_grow_with_what_comes() {
        let number = || Shape::Number { size: 4, is_signed: false };
        let field = |name: &str, offset: usize, shape| Field {
            name: name.to_owned(),
            offset: offset * 8,
            bits: None,
            shape,
        };
        let at = Shape::Members(vec![field("x", 0, number()), field("y", 4, number())]);
        let shape = Shape::Members(vec![field("at", 0, at), field("file", 8, Shape::Text { size: 8 })]);
        let mut columns = Columns::new(shape);
        assert_eq!(columns.line(&columns.titles()), "at.x  at.y  file");
        let bytes = |x: u32, y: u32, file: &[u8; 8]| [&x.to_ne_bytes()[..], &y.to_ne_bytes(), file].concat();
        let row = columns.row(&bytes(7, 1_000_000, b"a\x1b[2J\0\0\0"));
        assert_eq!(columns.line(&row), "   7  1000000  a\\u{1b}[2J", "and no text moves the cursor");
        let row = columns.row(&bytes(7, 8, b"b\0\0\0\0\0\0\0"));
        assert_eq!(columns.line(&row), "   7        8  b");
        let mut plain = Columns::new(number());
        assert_eq!(plain.line(&plain.titles()), "value");
        let row = plain.row(&9u32.to_ne_bytes());
        assert_eq!(plain.line(&row), "    9");
    }

    #[test]
    fn a_record_that_is_cut_anywhere_shows_what_it_has_and_leaves_the_rest_blank() {
        let number = |size| Shape::Number { size, is_signed: false };
        let field = |name: &str, offset: usize, shape| Field {
            name: name.to_owned(),
            offset: offset * 8,
            bits: None,
            shape,
        };
        let names = vec![(7, "A".to_owned()), (3, "B".to_owned())];
        let tag = field("kind", 0, Shape::Enum { size: 4, is_signed: false, names });
        let items = Shape::Array { each: Box::new(number(2)), size: 2, count: 2 };
        let shape = Shape::Tagged(Box::new(Tagged {
            tag: tag.clone(),
            before: vec![tag],
            choices: vec![
                vec![field("x", 4, number(4)), field("text", 8, Shape::Strings)],
                vec![field("items", 4, items), field("x", 8, number(8))],
            ],
            after: vec![],
        }));
        let mut columns = Columns::of_records(shape);
        assert_eq!(columns.line(&columns.titles()), "kind  x  text  items");
        let a: Vec<u8> = [&7u32.to_ne_bytes()[..], &5u32.to_ne_bytes(), b"a\0\0b\0\0"].concat();
        let b: Vec<u8> =
            [&3u32.to_ne_bytes()[..], &1u16.to_ne_bytes(), &2u16.to_ne_bytes(), &9u64.to_ne_bytes()].concat();
        let mut rows = |bytes: &[u8]| -> Vec<String> {
            let all = (0..=bytes.len()).map(|size| columns.row(&bytes[..size]).0.join("|"));
            let mut rows: Vec<_> = all.collect();
            rows.dedup();
            rows
        };
        assert_eq!(rows(&a), ["|||", "A|||", "A|5||", "A|5|a|", "A|5|a  b|"]);
        assert_eq!(rows(&b), ["|||", "B|||", "B|||[1]", "B|||[1 2]", "B|9||[1 2]"]);
        let mut other = a.clone();
        other[..4].copy_from_slice(&4u32.to_ne_bytes());
        assert_eq!(rows(&other), ["|||", "4|||"], "no enumerator has that value");
    }
}
