//! Makes an object of a program in C, with the clang and LLVM of this machine and what this binary carries of arenaq: no
//! Rust is needed.

mod kit;
mod output;
mod rule;

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use arenaq::structures::Kind;
use arenaq_bpf_build::{Instructions, Pipeline};
use arenaq_libbpf::{Declared, Queues, Refusal, log};
use libbpf_rs::ObjectBuilder;
use serde::Serialize;

pub(crate) use self::kit::tools;
use crate::error::Error;

/// What to compile, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program in C.
    pub program: PathBuf,
    /// Where the object goes: else into the current folder, under the program's name with `.o` for `.c`.
    pub output: Option<PathBuf>,
    /// Folders in which clang looks for headers.
    pub includes: Vec<PathBuf>,
    /// Macros, with their values.
    pub defines: Vec<(String, Option<String>)>,
    /// The object of these instructions only.
    pub instructions: Option<Instructions>,
    /// Where the files go, as a rule for make, of which the object is made.
    pub dependencies: Option<PathBuf>,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// Where the object is.
    pub object: PathBuf,
    /// By their names, the instructions for which it has programs.
    pub instructions: Vec<&'static str>,
    /// The queues that the program declares.
    pub queues: Vec<Queue>,
    /// Why its queues cannot be used as they are declared.
    pub warning: Option<String>,
}

/// A queue that a program declares.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// `MPMC`, `MPSC` or `records`.
    pub kind: &'static str,
    /// How many elements it is made for, unless somebody wants another number; of records, how many bytes each processor has.
    pub capacity: u64,
    /// How many bytes an element has, or the largest record, rounded up to whole words.
    pub element_size: u64,
}

impl From<&Declared> for Queue {
    fn from(declared: &Declared) -> Queue {
        Queue {
            name: declared.name.to_string(),
            kind: declared.kind.name(),
            capacity: declared.capacity,
            element_size: declared.element.size,
        }
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object.display(), self.instructions.join(", "))?;
        for Queue { name, kind, capacity, element_size } in &self.queues {
            if *kind == Kind::Records.name() {
                write!(f, "\n  {kind} {name}: {capacity} bytes a processor, up to {element_size} a record")?;
            } else {
                write!(f, "\n  {kind} queue {name}: {capacity} elements of {element_size} bytes")?;
            }
        }
        Ok(())
    }
}

/// Compiles a program. What clang says of it goes to standard error.
///
/// # Errors
///
/// [`Error::Build`] if clang or LLVM are missing or refuse, [`Error::Library`] if libbpf cannot read what they have made, and nothing
/// is written then; [`Error::Usage`] if there is no such program or nothing can be written where the object should go.
pub fn build(options: &Options) -> Result<Built, Error> {
    let program = &options.program;
    check_program(program)?;
    let object = options.output.clone().unwrap_or_else(|| output::beside(program));
    output::check(&object, program)?;
    if let Some(rule) = &options.dependencies {
        output::check(rule, program)?;
    }

    let folder = tempfile::tempdir().map_err(Error::system("making a folder for what clang makes"))?;
    let pipeline = pipeline(options, folder.path())?;
    let made = match options.instructions {
        Some(only) => pipeline.bundle_of_one(program, only)?,
        None => pipeline.bundle(program)?,
    };
    let instructions = options.instructions.map_or(Instructions::ALL.to_vec(), |only| vec![only]);
    let bytes = fs::read(&made).map_err(Error::system(format!("reading {}", made.display())))?;
    let (queues, warning) = queues(&bytes)?;
    if let Some(path) = &options.dependencies {
        let files = pipeline.dependencies(program, instructions[0])?;
        output::write(path, rule::rule(&object, &files).as_bytes())?;
    }
    output::write(&object, &bytes)?;
    let instructions = instructions.into_iter().map(Instructions::name).collect();
    Ok(Built { object, instructions, queues, warning })
}

fn check_program(program: &Path) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::Usage(format!("{}: {reason}", program.display())));
    match fs::metadata(program) {
        Err(error) => refuse(format!("{error}. Give the file of a BPF program in C")),
        Ok(found) if found.is_dir() => {
            refuse("it is a folder. Give the file of a BPF program in C".to_owned())
        }
        Ok(_) if program.extension().is_none_or(|extension| extension != "c") => refuse(
            "its name does not end in `.c`. Give the file of a BPF program in C, such as my.bpf.c".to_owned(),
        ),
        Ok(_) => Ok(()),
    }
}

fn pipeline(options: &Options, folder: &Path) -> Result<Pipeline, Error> {
    let pipeline = Pipeline::prebuilt(tools()?, &kit::PREBUILT, folder)?;
    let mut pipeline = pipeline.show_diagnostics();
    for include in &options.includes {
        pipeline = pipeline.include(include);
    }
    for (name, value) in &options.defines {
        pipeline = pipeline.define(name, value.as_deref());
    }
    // Behind the user's, who may have others of a newer libbpf.
    Ok(pipeline.include(kit::unpack_libbpf_headers(folder)?))
}

/// The queues that an object declares. One without any may be made for something else.
fn queues(object: &[u8]) -> Result<(Vec<Queue>, Option<String>), Error> {
    let open = || ObjectBuilder::default().open_memory(object);
    let (found, messages) = log::capture(|| open().map(|open| Queues::of(&open)));
    let refused = |error| Refusal::new(&error, messages).explain("reading the object that clang has made");
    match found.map_err(refused)? {
        Ok(queues) => Ok((queues.iter().map(Queue::from).collect(), None)),
        Err(arenaq_libbpf::Error::NoQueues | arenaq_libbpf::Error::NoArena) => Ok((Vec::new(), None)),
        Err(error) => Ok((Vec::new(), Some(error.to_string()))),
    }
}
