//! Several commands in one guest, one after the other.

use anyhow::{Context, ensure};

use crate::initramfs::quote;
use crate::machine::{Ended, Machine, Output};

/// Runs them all, whatever becomes of any. Returns how each ended; the console is that of all.
///
/// # Errors
///
/// As [`Machine::run`].
pub(crate) fn run(machine: &Machine, commands: &[Vec<String>]) -> anyhow::Result<Vec<Ended>> {
    if let [command] = commands {
        return Ok(vec![machine.run(command, Output::Kept)?]);
    }
    let shell = ["/bin/busybox", "sh", "-c", &script(commands)].map(str::to_owned);
    read(&machine.run(&shell, Output::Kept)?, commands.len())
}

/// After each command comes a line with its exit code and how many bytes it wrote to either stream, and then those.
fn script(commands: &[Vec<String>]) -> String {
    let one = |command: &Vec<String>| {
        let words = command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        format!(
            "{words} >/tmp/stdout 2>/tmp/stderr\n\
             echo $? $(wc -c </tmp/stdout) $(wc -c </tmp/stderr)\n\
             cat /tmp/stdout /tmp/stderr\n"
        )
    };
    commands.iter().map(one).collect()
}

fn read(ended: &Ended, commands: usize) -> anyhow::Result<Vec<Ended>> {
    let mut rest = &*ended.stdout;
    let mut all = Vec::new();
    while let Some((line, after)) = rest.split_once('\n') {
        let numbers: Vec<usize> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [code, stdout, stderr] = *numbers else { break };
        let parts = after.split_at_checked(stdout).zip(after.split_at_checked(stdout + stderr));
        let ((stdout, _), (both, after)) = parts.context("a command's output is cut off")?;
        all.push(Ended {
            code: code.try_into()?,
            stdout: stdout.to_owned(),
            stderr: both[stdout.len()..].to_owned(),
            console: ended.console.clone(),
        });
        rest = after;
    }
    ensure!(all.len() == commands && rest.is_empty(), "{} of {commands} commands ended", all.len());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use duct::cmd;

    use super::{read, script};
    use crate::machine::Ended;

    fn ended(stdout: String) -> Ended {
        Ended { code: 0, stdout, stderr: String::new(), console: "the console".to_owned() }
    }

    #[test]
    fn each_command_has_its_own_output_and_exit_code() {
        let shell = |line: &str| ["sh", "-c", line].map(str::to_owned).to_vec();
        let commands =
            [shell("echo one; echo \"it's wrong\" >&2; exit 3"), shell("printf 'no line'"), shell("true")];
        let output = cmd!("sh", "-c", script(&commands)).stdout_capture().run().expect("a shell");
        let stdout = String::from_utf8(output.stdout).expect("text");
        let all = read(&ended(stdout), 3).expect("all of them");
        let seen: Vec<_> = all.iter().map(|it| (it.code, &*it.stdout, &*it.stderr)).collect();
        assert_eq!(seen, [(3, "one\n", "it's wrong\n"), (0, "no line", ""), (0, "", "")]);
        assert!(all.iter().all(|it| it.console == "the console"));
    }

    #[test]
    fn what_is_missing_is_an_error() {
        for stdout in ["", "0 2 0\n", "0 2 0\nab", "0 2 0\nab0 9 0\nab"] {
            assert!(read(&ended(stdout.to_owned()), 2).is_err(), "{stdout:?}");
        }
    }
}
