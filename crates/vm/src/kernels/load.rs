//! `arenaq load` in a guest: an object of somebody's own, whose program sees a command open files.

use std::fmt;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::guest;
use crate::machine::Ended;

/// Where the guest has the object of the example `opensnoop`. It is also the file that is opened.
pub(crate) const OBJECT: &str = "/opensnoop.bpf.o";
/// How often: fewer than its queue has room for.
const OPENS: u64 = 1000;

/// The object that `--instructions` asks for; none is the one that the command chooses for the kernel.
pub(crate) const OBJECTS: [Option<&str>; 2] = [None, Some("full-barrier")];

/// What is looked at of the account with which `arenaq load --json` ends.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Loaded {
    /// The object that ran.
    pub(crate) instructions: String,
    account: Vec<Account>,
    command_status: Option<i32>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Account {
    produced: u64,
    consumed: u64,
    left: u64,
    dropped: Dropped,
    inexact: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Dropped {
    full: u64,
    contended: u64,
    invalid: u64,
    corrupt: u64,
}

/// The command, as the guest runs it.
pub(crate) fn command(instructions: Option<&str>) -> Vec<String> {
    let opens = format!("i=0; while [ $i -lt {OPENS} ]; do : < {OBJECT}; i=$((i+1)); done");
    let chosen = instructions.map(|name| ["--instructions", name]);
    let options =
        ["load", OBJECT, "--json", "--set", "tgid={pid}"].into_iter().chain(chosen.into_iter().flatten());
    guest::command(options.chain(["--", "/bin/busybox", "sh", "-c", &opens]))
}

/// What it has printed.
///
/// # Errors
///
/// The command fails, an open is missing, or the account does not add up.
pub(crate) fn read(ended: &Ended, wanted: Option<&str>) -> anyhow::Result<Loaded> {
    if ended.code != 0 {
        bail!("arenaq ended with exit code {}: {}", ended.code, ended.stderr);
    }
    let mut lines: Vec<&str> = ended.stdout.lines().collect();
    let last = lines.pop().context("`arenaq load --json` printed nothing")?;
    let loaded: Loaded = serde_json::from_str(last).with_context(|| format!("the account: {last}"))?;
    let elements: Vec<Value> = lines
        .into_iter()
        .map(|line| serde_json::from_str(line).with_context(|| format!("an element: {line}")))
        .collect::<anyhow::Result<_>>()?;
    let opened = elements.iter().filter(|line| line["element"]["file"] == OBJECT).count() as u64;
    ensure!(opened == OPENS, "{opened} opens were printed, of {OPENS}");
    let [account] = &*loaded.account else { bail!("{} accounts of one queue", loaded.account.len()) };
    let Account { produced, consumed, left, dropped, inexact } = account;
    let Dropped { full, contended, invalid, corrupt } = dropped;
    let lost = full + contended + invalid + corrupt;
    ensure!(
        !inexact && (lost, *left) == (0, 0) && produced == consumed && *consumed == elements.len() as u64,
        "{} elements were printed, and the account is {last}",
        elements.len()
    );
    ensure!(loaded.command_status == Some(0), "the command ended with {:?}", loaded.command_status);
    if let Some(wanted) = wanted {
        ensure!(loaded.instructions == wanted, "the object {} ran, not {wanted}", loaded.instructions);
    }
    Ok(loaded)
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consumed: u64 = self.account.iter().map(|account| account.consumed).sum();
        write!(f, "{consumed} opens, object {}", self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{OBJECT, OPENS, command, read};
    use crate::machine::Ended;

    fn ended(opens: u64, dropped: u64) -> Ended {
        let element = json!({"queue": "opens", "element": {"file": OBJECT}}).to_string();
        let account = json!({"instructions": "tso", "command_status": 0, "account": [{
            "produced": opens + dropped, "consumed": opens, "left": 0, "inexact": false,
            "dropped": {"full": dropped, "contended": 0, "invalid": 0, "corrupt": 0},
        }]});
        let stdout = format!("{}{account}\n", format!("{element}\n").repeat(opens as usize));
        Ended { code: 0, stdout, stderr: String::new(), console: String::new() }
    }

    #[test]
    fn an_account_is_exact_or_says_what_is_missing() {
        assert_eq!(read(&ended(OPENS, 0), None).expect("exact").to_string(), "1000 opens, object tso");
        for (opens, dropped, why) in
            [(OPENS - 1, 1, "999 opens"), (OPENS, 3, "the account is"), (0, 0, "0 opens")]
        {
            let error = read(&ended(opens, dropped), None).expect_err("inexact").to_string();
            assert!(error.contains(why), "{error}");
        }
        let failed = Ended { code: 3, stderr: "refused".to_owned(), ..ended(OPENS, 0) };
        assert!(read(&failed, None).expect_err("it failed").to_string().contains("refused"));
        assert!(read(&ended(OPENS, 0), Some("tso")).is_ok());
        let other = read(&ended(OPENS, 0), Some("full-barrier")).expect_err("another").to_string();
        assert!(other.contains("the object tso ran"), "{other}");
    }

    #[test]
    fn an_object_is_asked_for_before_the_command_begins() {
        let chosen = command(Some("full-barrier")).join(" ");
        assert!(chosen.contains("--instructions full-barrier -- /bin/busybox sh -c"), "{chosen}");
        assert!(!command(None).contains(&"--instructions".to_owned()));
    }
}
