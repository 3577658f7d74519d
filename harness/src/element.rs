//! Elements of which only the BTF knows what they are: decoded, as JSON, and as the rows of a table.
//!
//! libbpf-rs walks the BTF: it is the parser that every object has passed through already.

mod btf;
mod columns;
mod find;
mod json;
mod record;
mod shape;
mod text;

pub(crate) use self::btf::btf;
pub use self::columns::{Columns, Row};
pub(crate) use self::find::{element, name, record};
pub use self::json::Element;
pub use self::shape::Shape;
