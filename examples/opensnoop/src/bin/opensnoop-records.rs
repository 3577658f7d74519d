//! Prints every file that a command opens, from records that are as long as the names: `opensnoop-records ls -R /usr/share`.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use arenaq::records::Record;
use arenaq_libbpf::{Loaded, select};
use bytemuck::{Pod, Zeroable};
use libbpf_rs::ObjectBuilder;

/// What a record begins with, as in records.bpf.c. The name is behind it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Event {
    time: u64,
    pid: u32,
    tid: u32,
    result: i64,
    comm: [u8; 16],
}

fn main() -> anyhow::Result<()> {
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    ensure!(!command.is_empty(), "usage: opensnoop-records COMMAND [ARGUMENT...]");
    // A shell that waits for a line and then becomes the command: its process is known before it opens anything.
    let mut child = Command::new("sh")
        .args(["-c", "read -r go; exec \"$@\"", "sh"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;

    let object = select(include_bytes!(env!("OBJECT_RECORDS")), None)?.object;
    let mut open = ObjectBuilder::default().open_memory(object)?;
    let mut constants = open.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
    let constants = constants.as_mut().and_then(|map| map.initial_value_mut());
    // `tgid` is the only one.
    constants.context("no constants")?[..4].copy_from_slice(&child.id().to_ne_bytes());

    let loaded = Loaded::load(open)?;
    let mut opens = loaded.records("opens")?;
    loaded.attach()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no pipe")?, b"go\n")?;

    let mut bytes = Vec::new();
    let mut print = |record: Record<'_>| {
        let Some(Event { pid, result, comm, .. }) = record.read() else { return };
        bytes.clear();
        record.copy_to(&mut bytes);
        println!("{pid:>7} {:<16} {result:>4} {}", text(&comm), text(&bytes[size_of::<Event>()..]));
    };
    while child.try_wait()?.is_none() {
        opens.wait(Duration::from_millis(100), &mut print)?;
    }
    opens.drain(u64::MAX, print)?;
    eprintln!("opens: {:?}", opens.dropped());
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
