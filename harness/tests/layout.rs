//! Rust, the C header and the BTF of the object agree on every field, and all with the seeds.

mod support;

use arenaq_harness::layout;
use support::{Outcome, arenaq};

#[test]
fn three_views_of_every_field_agree() {
    let rows = layout::table().expect("the object has BTF");
    assert!(rows.len() >= 30, "the table covers the structures");
    for row in &rows {
        assert!(row.agrees(), "{row:?}");
    }
}

#[test]
fn the_offsets_are_those_of_the_compiled_seeds() {
    const SEEDS: [(&str, &str, usize); 14] = [
        ("ds_vyukhov_head", "enqueue_pos", 0x00),
        ("ds_vyukhov_head", "dequeue_pos", 0x40),
        ("ds_vyukhov_head", "buffer_mask", 0x80),
        ("ds_vyukhov_head", "buffer", 0x88),
        ("ds_vyukhov_head", "count", 0x90),
        ("ds_vyukhov_cell", "sequence", 0),
        ("ds_vyukhov_cell", "data", 8),
        ("ds_kv", "key", 0),
        ("ds_kv", "value", 8),
        ("ds_mpsc_head", "head", 0),
        ("ds_mpsc_head", "tail", 8),
        ("ds_mpsc_head", "count", 16),
        ("ds_mpsc_node", "next", 0),
        ("ds_mpsc_node", "key", 8),
    ];
    let rows = layout::table().expect("the object has BTF");
    for (structure, field, offset) in SEEDS {
        let row =
            rows.iter().find(|row| row.structure == structure && row.field == field).expect("a row for it");
        assert_eq!(row.btf, Some(offset), "{structure}.{field}");
    }
}

#[test]
fn the_command_shows_the_table() {
    let outcome = Outcome::of(&mut arenaq(&["layout"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("ds_vyukhov_head") && !outcome.stdout.contains("DIFFERENT"),
        "{outcome:?}"
    );
    let json = Outcome::of(&mut arenaq(&["layout", "--json"])).json();
    assert!(
        json.as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["field"] == "count" && row["btf"] == 144))
    );
}
