//! Prints the programs that are started, by everybody or by one process, with their whole command lines, until Ctrl-C:
//! `cmdlines [PID]`. What `arenaq load cmdlines.bpf.o` does for any object is done by hand here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use arenaq::records::Record;
use arenaq_libbpf::{Loaded, select};
use bytemuck::{Pod, Zeroable};
use libbpf_rs::ObjectBuilder;

/// What a record begins with, as in cmdlines.bpf.c. The arguments are behind it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Event {
    time: u64,
    pid: u32,
    parent: u32,
}

fn main() -> anyhow::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&is_over))?;

    let object = select(include_bytes!(env!("OBJECT")), None)?.object;
    let mut open = ObjectBuilder::default().open_memory(object)?;
    if let Some(parent) = std::env::args().nth(1) {
        let parent: u32 = parent.parse().context("usage: cmdlines [PID]")?;
        let mut constants = open.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
        let constants = constants.as_mut().and_then(|map| map.initial_value_mut());
        // `parent` is the only one.
        constants.context("no constants")?[..4].copy_from_slice(&parent.to_ne_bytes());
    }
    let loaded = Loaded::load(open)?;
    let mut execs = loaded.records("execs")?;
    loaded.attach()?;
    eprintln!("ready");
    let mut bytes = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        execs.wait(Duration::from_millis(100), |record| print(&record, &mut bytes))?;
    }
    eprintln!("dropped: {:?}", execs.dropped());
    Ok(())
}

fn print(record: &Record<'_>, bytes: &mut Vec<u8>) {
    let Some(Event { pid, parent, .. }) = record.read() else { return };
    bytes.clear();
    record.copy_to(bytes);
    let args = bytes[size_of::<Event>()..].split(|byte| *byte == 0).map(String::from_utf8_lossy);
    println!("{parent} started {pid}: {}", args.collect::<Vec<_>>().join(" ").trim_end());
}
