//! The commands into which faults are injected.

/// One command line.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// After `arenaq`: `PIN` is the folder to pin to, `FOLDER` the one for temporary files, and `PID` a process.
    pub(crate) arguments: &'static str,
    /// What is pinned before, as arguments of `pin`. Two events are in its queue then.
    pub(crate) pinned: Option<&'static str>,
}

impl Scenario {
    /// Which of `arenaq`'s commands it is.
    pub(crate) fn command(&self) -> &'static str {
        self.arguments.split(' ').next().unwrap_or_default()
    }
}

const fn alone(name: &'static str, arguments: &'static str) -> Scenario {
    Scenario { name, arguments, pinned: None }
}

const fn with(pinned: &'static str, name: &'static str, arguments: &'static str) -> Scenario {
    Scenario { name, arguments, pinned: Some(pinned) }
}

const MPSC: &str = "--hook exec --capacity 64";
const MPMC: &str = "--hook exec --capacity 64 --queue mpmc";

/// A run that has a number of operations ends by itself. One that has a duration goes on until it is ended, and so does whatever a
/// fault leaves running.
pub(crate) const SCENARIOS: &[Scenario] = &[
    alone("threads", "run --backend threads --processes 2 --operations 200 --capacity 1024"),
    alone(
        "threads-endless",
        "run --backend threads --queue mpmc --consumers 2 --processes 2 --duration 0.1 --capacity 1024",
    ),
    alone("drive", "run --hook drive --processes 2 --operations 200 --capacity 1024"),
    alone(
        "drive-endless",
        "run --hook drive --queue mpmc --consumers 2 --processes 2 --duration 0.1 --capacity 1024",
    ),
    alone("files", "run --processes 2 --operations 100 --capacity 1024 --folder FOLDER"),
    alone("files-endless", "run --queue mpmc --processes 2 --duration 0.1 --capacity 1024 --folder FOLDER"),
    alone(
        "growth",
        "run --hook ext4-create --processes 2 --operations 20 --capacity 64 --grow-to 100000 --folder FOLDER",
    ),
    alone("programs", "run --hook exec --processes 2 --operations 12 --capacity 1024"),
    alone("functions", "run --hook uprobe --processes 2 --operations 20 --capacity 1024"),
    alone("entries", "run --hook sys-enter --processes 2 --operations 20 --capacity 1024"),
    alone("command", "run --hook exec --capacity 1024 -- true"),
    alone("pin", "pin PIN --hook exec --capacity 1024 --trace PID"),
    alone(
        "pin-uprobe",
        "pin PIN --hook uprobe --uprobe /proc/self/exe:arenaq_uprobe_target --queue mpmc --capacity 1024",
    ),
    with(MPSC, "consume", "consume PIN --until-empty"),
    with(MPMC, "consume-mpmc", "consume PIN --until-empty --print --json"),
    with(MPSC, "consume-waiting", "consume PIN --duration 0.1"),
    with(MPSC, "unpin", "unpin PIN"),
];
