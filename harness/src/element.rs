//! Elements of which only the BTF knows what they are: decoded, as JSON, and as the rows of a table.
//!
//! libbpf-rs walks the BTF: it is the parser that every object has passed through already.

mod columns;
mod find;
mod json;
mod shape;
mod text;

pub use self::columns::{Columns, Row};
pub(crate) use self::find::{btf, element, size_of};
pub use self::json::Element;
pub use self::shape::Shape;
