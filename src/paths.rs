//! The paths that an operation can take: the sites that it passes, in order, as regular expressions.
//!
//! A path is the last part of each site's name, with a space behind it; `!` marks a compare-exchange that
//! fails. Geometry (`pool.any.*`, `mpmc.any.*`) is left out. `{budget}` stands for the retry budget of the
//! platform, and `{pool.alloc allocated}` for any path of the operation `pool.alloc` that ends so.
//!
//! The seeds give the same for the compiled MPMC push, from m00 to m10. Of their four return paths three are the first
//! three rows; the fourth, `m00 -> RETURN_INVALID`, is a head that has no [ring](crate::mpmc::Head::ring).

use crate::pool::MAGAZINES;
use crate::records::LANES;

/// One way in which an operation can end.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The operation: `mpmc.push`.
    pub operation: &'static str,
    /// How it ends.
    pub outcome: &'static str,
    /// The sites that it passes.
    pub sites: &'static str,
    /// What the seeds say of it, in their words.
    pub seed: &'static str,
}

const fn path(
    operation: &'static str,
    outcome: &'static str,
    sites: &'static str,
    seed: &'static str,
) -> Path {
    Path { operation, outcome, sites, seed }
}

/// Every path.
pub const PATHS: &[Path] = &[
    path(
        "mpmc.push",
        "full",
        "load_position (load_sequence (claim_position! )?reload_position )*load_sequence ",
        "m01 -> m02 -> m03 -> m04 -> RETURN_NOMEM",
    ),
    path(
        "mpmc.push",
        "pushed",
        "load_position (load_sequence (claim_position! )?reload_position )*\
         load_sequence (claim_position |advance_position )write_data publish_cell (increment_count )?",
        "m01 -> m02 -> m03 -> m04 -> m05 -> m06 -> m07 -> m08 -> m09 -> RETURN_SUCCESS",
    ),
    path(
        "mpmc.push",
        "contended",
        "load_position (load_sequence (claim_position! )?reload_position ){budget}",
        "(m01 -> m02 -> m03 -> m04 -> m05? -> m10 -> RETRY)* -> RETURN_BUSY",
    ),
    path(
        "mpmc.pop",
        "empty",
        "load_position (load_sequence (claim_position! )?reload_position )*load_sequence ",
        "m0 -> m1 -> Return Empty",
    ),
    path(
        "mpmc.pop",
        "popped",
        "load_position (load_sequence (claim_position! )?reload_position )*\
         load_sequence (claim_position |advance_position )read_data free_cell (decrement_count )?",
        "m0 -> m1 -> m2 -> m3 -> m4",
    ),
    path(
        "mpmc.pop",
        "contended",
        "load_position (load_sequence (claim_position! )?reload_position ){budget}",
        "m0 -> m1 -> m2 (Fail) -> Retry",
    ),
    path(
        "mpmc.push_many",
        "full",
        "load_position ((load_sequence )+(claim_position! )?reload_position )*load_sequence ",
        "",
    ),
    path(
        "mpmc.push_many",
        "pushed",
        "load_position ((load_sequence )+(claim_position! )?reload_position )*\
         (load_sequence )+(claim_position |advance_position )(write_data publish_cell )+(increment_count )?",
        "",
    ),
    path(
        "mpmc.push_many",
        "contended",
        "load_position ((load_sequence )+(claim_position! )?reload_position ){budget}",
        "",
    ),
    path(
        "mpmc.drain",
        "empty",
        "load_position ((load_sequence )+(claim_position! )?reload_position )*load_sequence ",
        "",
    ),
    path(
        "mpmc.drain",
        "drained",
        "load_position ((load_sequence )+(claim_position! )?reload_position )*\
         (load_sequence )+(claim_position |advance_position )(read_data free_cell )+(decrement_count )?",
        "",
    ),
    path(
        "mpmc.drain",
        "contended",
        "load_position ((load_sequence )+(claim_position! )?reload_position ){budget}",
        "",
    ),
    // A batch that a panic has left is gone on with, without a claim.
    path(
        "mpmc.take",
        "empty",
        "load_position ((load_sequence )+(store_first store_length claim_position! )?reload_position )*\
         load_sequence clear_length ",
        "",
    ),
    path(
        "mpmc.take",
        "popped",
        "(load_position ((load_sequence )+(store_first store_length claim_position! )?reload_position )*\
         (load_sequence )+store_first store_length claim_position )?\
         (read_data free_cell )+(clear_length )?(decrement_count )?",
        "",
    ),
    path(
        "mpmc.take",
        "contended",
        "load_position ((load_sequence )+(store_first store_length claim_position! )?reload_position ){budget}\
         clear_length ",
        "",
    ),
    // A pool whose blocks have one node, and one whose blocks have more.
    path("pool.alloc", "exhausted", "load_top (load_link claim_block! )*", "3.2 step 1: DS_ERROR_NOMEM"),
    path(
        "pool.alloc",
        "exhausted",
        "load_magazine (take_node! )*load_top (load_link claim_block! )*(load_magazine (take_node! )?)*(load_magazine ){8}",
        "",
    ),
    path("pool.alloc", "contended", "load_top (load_link claim_block! ){budget}", ""),
    path(
        "pool.alloc",
        "contended",
        "load_magazine (take_node! )*load_top (load_link claim_block! ){budget}",
        "",
    ),
    path(
        "pool.alloc",
        "contended",
        "load_magazine (take_node! )*load_top (load_link claim_block! )*(load_magazine (take_node! )?)*",
        "",
    ),
    path(
        "pool.alloc",
        "allocated",
        "load_top (load_link claim_block! )*load_link claim_block ",
        "3.2 step 1: allocate",
    ),
    path("pool.alloc", "allocated", "load_magazine (take_node! )*take_node ", ""),
    path(
        "pool.alloc",
        "allocated",
        "load_magazine (take_node! )*load_top (load_link claim_block! )*load_link claim_block \
         reset_spent (fill_magazine |fill_magazine! spend_rest )?",
        "",
    ),
    path(
        "pool.alloc",
        "allocated",
        "load_magazine (take_node! )*load_top (load_link claim_block! )*\
         (load_magazine (take_node! )?)*load_magazine take_node ",
        "",
    ),
    path(
        "pool.free",
        "freed",
        "(spend_nodes )?load_top (store_link push_chain! )*store_link push_chain ",
        "",
    ),
    path("pool.free", "freed", "spend_nodes ", ""),
    path("pool.free", "contended", "(spend_nodes )?load_top (store_link push_chain! ){budget}", ""),
    path("mpsc.push", "invalid", "load_head ", ""),
    path("mpsc.push", "exhausted", "load_head {pool.alloc exhausted}", "3.2 step 1: DS_ERROR_NOMEM"),
    path("mpsc.push", "contended", "load_head {pool.alloc contended}", ""),
    path(
        "mpsc.push",
        "pushed",
        "load_head {pool.alloc allocated}init_next write_data swap_head link_node (increment_count )?",
        "3.2 steps 1 to 4: allocate, set up, XCHG, link",
    ),
    path("mpsc.push_many", "invalid", "load_head ", ""),
    path("mpsc.push_many", "exhausted", "load_head {pool.alloc exhausted}", ""),
    path("mpsc.push_many", "contended", "load_head {pool.alloc contended}", ""),
    path(
        "mpsc.push_many",
        "pushed",
        "load_head {pool.alloc allocated}write_data ({pool.alloc allocated}?write_data init_next )*\
         ({pool.alloc exhausted}|{pool.alloc contended})?init_next swap_head link_node (increment_count )?",
        "",
    ),
    path("eventcount.prepare", "prepared", "load_state (announce_sleeper! )*announce_sleeper fence ", ""),
    path("eventcount.prepare", "contended", "load_state (announce_sleeper! ){budget}", ""),
    path("eventcount.cancel", "withdrawn", "load_state (withdraw_sleeper! )*withdraw_sleeper ", ""),
    path("eventcount.cancel", "too late", "load_state (withdraw_sleeper! )*", ""),
    path("eventcount.notify", "need not", "fence load_state (claim_sleepers! )*", ""),
    path("eventcount.notify", "must ring", "fence load_state (claim_sleepers! )*claim_sleepers ", ""),
    path("eventcount.notify", "must ring", "fence load_state (claim_sleepers! ){budget}advance_epoch ", ""),
    path("pool.reserve", "reserved", "load_created (claim_numbers! )*claim_numbers ", ""),
    path("pool.reserve", "no room", "load_created (claim_numbers! )*", ""),
    path("pool.reserve", "contended", "load_created (claim_numbers! ){budget}", ""),
    path("pool.cancel", "cancelled", "return_numbers ", ""),
    path("pool.cancel", "lost", "return_numbers! ", ""),
    path("mpsc.pop", "empty", "load_next load_head ", "3.3 case 1"),
    path("mpsc.pop", "busy", "load_next load_head ", "3.3 case 2"),
    path(
        "mpsc.pop",
        "popped",
        "load_next read_data write_tail \
         (spend_nodes )?((store_link )?load_top (store_link push_chain! )*(store_link push_chain )?)?(decrement_count )?",
        "3.3 case 3: read the data, move tail, free the old stub",
    ),
    path("mpsc.drain", "empty", "load_next load_head ", ""),
    path("mpsc.drain", "busy", "load_next load_head ", ""),
    path(
        "mpsc.drain",
        "drained",
        "load_next read_data (load_next read_data )*(load_next )?write_tail \
         (load_next (spend_nodes )?(store_link )?)*(spend_nodes )?(store_link )?\
         (load_top (store_link push_chain! )*(store_link push_chain )?)?(decrement_count )?",
        "",
    ),
    path("records.push", "contended", "(claim_owner! )+", ""),
    path(
        "records.push",
        "full",
        "(claim_owner! )*claim_owner (read_ring read_ring read_ring )?load_position read_seen load_consumed write_seen \
         release_owner ",
        "",
    ),
    path(
        "records.push",
        "pushed",
        "(claim_owner! )*claim_owner (read_ring read_ring read_ring )?load_position read_seen \
         (load_consumed write_seen (write_padding )?)?(write_data )*write_header write_header publish release_owner ",
        "",
    ),
    // Of a lane that its producer keeps.
    path("records.push_kept", "full", "load_consumed ", ""),
    path(
        "records.push_kept",
        "pushed",
        "(load_consumed (write_padding )?)?(write_data )*write_header write_header publish ",
        "",
    ),
    path("records.pop", "empty", "(load_published )+", ""),
    // Padding is read up to twice, and given back before the record behind it is handed over. A record's stamp is read if somebody asks.
    path(
        "records.pop",
        "popped",
        "(load_published )*(read_header )?(read_header )?read_header (free_words )?(read_header )?(read_data )*(free_words )?",
        "",
    ),
    path("records.drain", "empty", "(load_published )+", ""),
    // Of each lane: padding, the header, the stamp if somebody asks, and the words of each record, and one store for all of them.
    path(
        "records.drain",
        "drained",
        "(((load_published )?(read_header )?read_header (read_header )?(read_data )*)*(load_published )?(free_words )?)+",
        "",
    ),
];

/// The largest batch for which [`BOUNDS`] has a bound.
pub const BATCH: u64 = 3;

/// What an allocation reads first: its magazine, and the free list. Then it looks into every magazine.
const ALLOC: u64 = 2 + 2 * MAGAZINES as u64;
/// A lost magazine, a lost list, and a magazine that somebody else was faster to steal from.
const ALLOC_RETRY: u64 = 1 + 2 + 2;

/// How many accesses an operation makes at most: so many, and so many more for each unit of the retry budget.
/// Geometry does not count.
///
/// A push on the MPSC queue has its retries in the allocation of the node alone: what follows it is four
/// accesses, or five with the counter, in every execution, and one comes before it.
///
/// Of the operations on batches the bounds are those of a batch of up to [`BATCH`] elements.
pub const BOUNDS: &[(&str, u64, u64)] = &[
    ("mpmc.push", 1 + 3, 3),
    ("mpmc.pop", 1 + 3, 3),
    ("mpmc.push_many", 1 + 2 + 2 * BATCH, BATCH + 2),
    ("mpmc.drain", 1 + 2 + 2 * BATCH, BATCH + 2),
    // The announcement is two accesses more for each attempt.
    ("mpmc.take", 1 + 2 + 2 * BATCH, BATCH + 4),
    ("pool.alloc", ALLOC, ALLOC_RETRY),
    ("pool.free", 1 + 1, 2),
    ("mpsc.push", 1 + ALLOC + 5, ALLOC_RETRY),
    // In the worst case each node is allocated by itself.
    ("mpsc.push_many", 1 + BATCH * (ALLOC + 2) + 3, BATCH * ALLOC_RETRY),
    ("mpsc.pop", 3 + 3 + 1, 2),
    // In the worst case each node is of another block, and the pool has not taken back the last batch.
    ("mpsc.drain", 1 + 2 * BATCH + 3 * BATCH + 1 + 1, 2),
    ("eventcount.prepare", 1 + 1, 1),
    ("eventcount.cancel", 1, 1),
    // One load and no read-modify-write, if nobody sleeps.
    ("eventcount.notify", 2 + 1, 1),
    ("pool.reserve", 1, 1),
    ("pool.cancel", 1, 0),
    // No attempt is repeated: the other lanes, and at most that many words.
    ("records.push", LANES as u64 + 12 + BATCH, 0),
    ("records.push_kept", 5 + BATCH, 0),
    ("records.pop", LANES as u64 + 9, 0),
    ("records.drain", LANES as u64 * 2 + BATCH * (4 + BATCH), 0),
];
