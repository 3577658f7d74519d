//! Running and attaching the programs of an object.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use bytemuck::{Pod, bytes_of, bytes_of_mut};
use libbpf_rs::{AsRawLibbpf, ErrorKind, Link, Object, ProgramInput, ProgramMut, UprobeOpts};

use rustix::io::Errno;

use crate::error::Error;
use crate::log;
use crate::refusal::Refusal;
use crate::require;

fn find<'a>(object: &'a Object, name: &str) -> Result<ProgramMut<'a>, String> {
    object
        .progs_mut()
        .find(|program| program.name() == name)
        .ok_or_else(|| format!("the BPF object has no program {name}"))
}

/// Runs a `syscall` program with `arguments` as its context, which it may change.
///
/// # Errors
///
/// [`Error::Usage`] if the object has no such program, [`Error::Bpf`] if it does not run.
pub fn run<A: Pod>(object: &Object, name: &str, arguments: &mut A) -> Result<(), Error> {
    let program = find(object, name).map_err(Error::Usage)?;
    debug_assert!(!bytes_of(arguments).is_empty(), "a program has a context");
    let input = ProgramInput { context_in: Some(bytes_of_mut(arguments)), ..ProgramInput::default() };
    program.test_run(input).map_err(Error::bpf(format!("running the BPF program {name}")))?;
    Ok(())
}

/// `CAP_PERFMON` was enough from Linux 5.8 on, until `perf_event_open` asked for more again.
const UPROBE_PRIVILEGES: &str = "From Linux 6.16 on, and on stable kernels since July 2025, uprobes want CAP_SYS_ADMIN \
                                 besides CAP_BPF and CAP_PERFMON: run as root";

/// Attaches a program to where its section says; one for uprobes that does not say where, to `target`.
///
/// # Errors
///
/// What the kernel, or libbpf, said.
pub fn attach(object: &Object, program: &str, target: &UprobeTarget) -> Result<Link, Refusal> {
    let program = find(object, program).map_err(|missing| {
        let error = io::Error::new(io::ErrorKind::NotFound, missing);
        Refusal::new(&error.into(), String::new())
    })?;
    let is_uprobe = program.section() == "uprobe" || program.section() == "uprobe.s";
    let (link, messages) = log::capture(|| {
        if is_uprobe {
            let options = UprobeOpts { func_name: Some(target.function.clone()), ..UprobeOpts::default() };
            program.attach_uprobe_with_opts(-1, &target.binary, 0, options)
        } else {
            program.attach()
        }
    });
    link.map_err(|error| {
        let refusal = Refusal::new(&error, messages);
        if is_uprobe && error.kind() == ErrorKind::PermissionDenied && !require::is_administrator() {
            return refusal.because(UPROBE_PRIVILEGES);
        }
        refusal
    })
}

/// Attaches a program to where its section says; `None` if it was not loaded, or its section does not say where.
pub(crate) fn attach_by_section(program: &ProgramMut<'_>) -> Result<Option<Link>, Error> {
    // SAFETY: the program is one of an object that lives.
    let is_wanted = unsafe {
        let program = program.as_libbpf_object().as_ptr();
        libbpf_sys::bpf_program__autoload(program) && libbpf_sys::bpf_program__autoattach(program)
    };
    if !is_wanted {
        return Ok(None);
    }
    let (link, messages) = log::capture(|| program.attach());
    match link {
        Ok(link) => Ok(Some(link)),
        // libbpf's word for a section that does not say.
        Err(error) if is(&error, Errno::OPNOTSUPP) => Ok(None),
        Err(error) => {
            let what = format!("attaching the program {}", program.name().to_string_lossy());
            Err(Refusal::new(&error, messages).explain(what))
        }
    }
}

/// libbpf's errors do not give their number away, but say it.
fn is(error: &libbpf_rs::Error, number: Errno) -> bool {
    format!("{error:#}").contains(&format!("(os error {})", number.raw_os_error()))
}

/// A function of a program, written `BINARY:FUNCTION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UprobeTarget {
    /// The file of the program or library.
    pub binary: PathBuf,
    /// The function's symbol.
    pub function: String,
}

impl FromStr for UprobeTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((binary, function)) if !binary.is_empty() && !function.is_empty() => {
                let is_missing = match fs::metadata(binary) {
                    Ok(found) => !found.is_file(),
                    // Of a file that cannot be looked at, the attach says why.
                    Err(error) => {
                        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                    }
                };
                if is_missing {
                    return Err(format!("there is no file {binary}"));
                }
                Ok(UprobeTarget { binary: PathBuf::from(binary), function: function.to_owned() })
            }
            _ => Err("write it as BINARY:FUNCTION, for example /bin/bash:readline".to_owned()),
        }
    }
}
