//! Completions for shells, and manual pages: from the definitions of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Writes the script that a shell reads to complete command lines.
pub(crate) fn completions(shell: Shell, to: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "arenaq", &mut script);
    to.write_all(&script)
}

/// Writes a page for the command and for each subcommand, as `man` wants them in a folder `man1`.
pub(crate) fn manual(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("writing manual pages to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    use arenaq_harness::tracee::TRAMPOLINE;
    use arenaq_harness::workload::WORKER;
    use clap::{CommandFactory, ValueEnum};
    use clap_complete::Shell;

    use super::{completions, manual};
    use crate::cli::Cli;

    fn script(shell: Shell) -> String {
        let mut script = Vec::new();
        completions(shell, &mut script).expect("memory can be written to");
        String::from_utf8(script).expect("it is text")
    }

    #[test]
    fn each_shell_gets_every_command_and_none_that_is_internal() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(!script.contains(WORKER) && !script.contains(TRAMPOLINE), "{shell}");
        }
    }

    #[test]
    fn bash_completes_commands_options_and_hooks() {
        let words = |line: &[&str]| {
            let last = line.len() - 1;
            let previous = line[last - 1];
            let script = format!(
                "{}\nCOMP_WORDS=({}); COMP_CWORD={last}; _arenaq arenaq '{}' '{previous}'; echo \"${{COMPREPLY[*]}}\"",
                script(Shell::Bash),
                line.join(" "),
                line[last],
            );
            let output = Command::new("bash").args(["-c", &script]).output().expect("bash is there");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("it is text").trim().to_owned()
        };
        assert_eq!(words(&["arenaq", "verif"]), "verifier");
        assert_eq!(words(&["arenaq", "consume", "--until"]), "--until-empty");
        assert_eq!(words(&["arenaq", "run", "--hook", "uprobe"]), "uprobe uprobe-sleepable");
    }

    #[test]
    fn each_command_has_a_page_and_nothing_internal_has() {
        let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
        let pages = folder.path().join("share/man/man1");
        manual(&pages).expect("it is ours");
        let files = fs::read_dir(&pages).expect("it was made");
        let files: BTreeSet<String> =
            files.map(|file| file.expect("it is there").file_name().to_string_lossy().into_owned()).collect();
        let commands = Cli::command();
        let commands = commands.get_subcommands().map(|command| format!("arenaq-{}.1", command.get_name()));
        assert_eq!(files, commands.chain(["arenaq.1".to_owned()]).collect());
        let read = |name: &str| fs::read_to_string(pages.join(name)).expect("it is there");
        assert!(read("arenaq.1").contains("Exit codes"), "{}", read("arenaq.1"));
        assert!(read("arenaq-run.1").contains("hold\\-back"), "{}", read("arenaq-run.1"));
    }
}
