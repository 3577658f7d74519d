//! What `/proc` says of a process.

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) is_stopped: bool,
}

impl Process {
    /// The process with that id, if there is one.
    pub(super) fn find(id: u32) -> Option<Process> {
        let stat =
            procfs::process::Process::new(i32::try_from(id).ok()?).and_then(|process| process.stat()).ok()?;
        // T, and t of one that a debugger has stopped.
        Some(Process { id, is_stopped: matches!(stat.state, 'T' | 't'), name: stat.comm })
    }
}
