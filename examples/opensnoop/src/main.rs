//! Prints every file that a command opens: `opensnoop ls -R /usr/share`.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use arenaq_libbpf::{Loaded, select};
use bytemuck::{Pod, Zeroable};
use libbpf_rs::ObjectBuilder;

/// As in opensnoop.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Event {
    time: u64,
    pid: u32,
    tid: u32,
    result: i64,
    comm: [u8; 16],
    file: [u8; 256],
}
arenaq::element!(Event { time, pid, tid, result, comm, file });

fn main() -> anyhow::Result<()> {
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    ensure!(!command.is_empty(), "usage: opensnoop COMMAND [ARGUMENT...]");
    // A shell that waits for a line and then becomes the command: its process is known before it opens anything.
    let mut child = Command::new("sh")
        .args(["-c", "read -r go; exec \"$@\"", "sh"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;

    let object = select(include_bytes!(env!("OBJECT")), None)?.object;
    let mut open = ObjectBuilder::default().open_memory(object)?;
    let mut constants = open.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
    let constants = constants.as_mut().and_then(|map| map.initial_value_mut());
    // `tgid` is the only one.
    constants.context("no constants")?[..4].copy_from_slice(&child.id().to_ne_bytes());

    let loaded = Loaded::load(open)?;
    let mut opens = loaded.receiver::<Event>("opens")?;
    loaded.attach()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no pipe")?, b"go\n")?;

    let print = |Event { pid, result, comm, file, .. }: Event| {
        println!("{pid:>7} {:<16} {result:>4} {}", text(&comm), text(&file));
    };
    while child.try_wait()?.is_none() {
        if let Some(event) = opens.recv_timeout(Duration::from_millis(100))? {
            print(event);
        }
    }
    while let Ok(event) = opens.try_recv() {
        print(event);
    }
    for queue in loaded.arena()?.queues() {
        eprintln!("{}: {:?}", queue.name, queue.dropped.unwrap_or_default());
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
