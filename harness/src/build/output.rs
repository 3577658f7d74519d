//! Where what is made goes.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// `my.bpf.o` in the current folder, for `src/my.bpf.c`, as compilers do it.
pub(super) fn beside(program: &Path) -> PathBuf {
    PathBuf::from(program.with_extension("o").file_name().unwrap_or_default())
}

/// Refuses what could not be written in the end, or would take the program's place.
pub(super) fn check(output: &Path, program: &Path) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::Usage(format!("{}: {reason}", output.display())));
    if output.is_dir() {
        return refuse("it is a folder. Give the name of the file as well");
    }
    if let (Ok(output), Ok(program)) = (output.canonicalize(), program.canonicalize())
        && output == program
    {
        return refuse("it is the program itself. Give the file another name");
    }
    match folder_of(output).metadata() {
        Ok(folder) if folder.is_dir() => Ok(()),
        _ => refuse("there is no such folder. Make it first"),
    }
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let is_special = path.metadata().is_ok_and(|found| !found.is_file());
    let written = if is_special { fs::write(path, bytes) } else { replace(path, bytes) };
    written.map_err(Error::system(format!("writing {}", path.display())))
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // The umask takes from these what it takes from every file.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
