//! The command behind `cargo xtask bench`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use arenaq_bench::child::{self, Job};
use arenaq_bench::plan::{self, Part};
use arenaq_bench::results::Results;
use arenaq_bench::{goals, plot, report};
use clap::{Args, Parser, Subcommand};

/// Measures arenaq's queues against their peers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and writes what was measured: as JSON, as a document, and as pictures.
    Measure(Measure),
    /// Writes document and pictures once more, from the JSON of an earlier run.
    Render {
        /// Where the JSON is and the document goes.
        #[arg(long)]
        folder: PathBuf,
    },
    /// One run, in this process.
    #[command(hide = true)]
    Child(Job),
}

#[derive(Args)]
struct Measure {
    /// Few short rounds: under 3 minutes.
    #[arg(long)]
    quick: bool,
    /// Only this part, and may be given several times.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Prints every figure and every ratio, by name.
    #[arg(long)]
    json: bool,
    /// Where everything goes.
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Measure(arguments) => measure(&arguments),
        Command::Render { folder } => {
            let file = folder.join(JSON);
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let results = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            write_document(&results, &folder)
        }
        Command::Child(job) => {
            child::end_with_parent()?;
            println!("{}", job.run()?);
            Ok(())
        }
    }
}

const JSON: &str = "benchmarks.json";
const DOCUMENT: &str = "benchmarks.md";

fn measure(arguments: &Measure) -> anyhow::Result<()> {
    // Before the run, which takes minutes.
    fs::create_dir_all(arguments.folder.join("images"))
        .with_context(|| arguments.folder.display().to_string())?;
    let parts = if arguments.only.is_empty() { &Part::ALL[..] } else { &arguments.only };
    let results = plan::run(parts, arguments.quick);
    write(&arguments.folder.join(JSON), &(serde_json::to_string_pretty(&results)? + "\n"))?;
    write_document(&results, &arguments.folder)?;
    for skipped in &results.skipped {
        eprintln!("!! SKIPPED: {}: {}", skipped.what, skipped.why);
    }
    if arguments.json {
        return print(&(report::json(&results)? + "\n"));
    }
    let mut summary = String::new();
    for seen in goals::seen(&results) {
        let value = seen.value.map_or("–".to_owned(), |value| format!("{:.2}", value.median));
        summary += &format!("{:<12} {value:>8}   {} ({})\n", seen.verdict(), seen.goal.what, seen.goal.bound);
    }
    print(&summary)
}

fn write_document(results: &Results, folder: &Path) -> anyhow::Result<()> {
    let plots = plot::all(results)?;
    for plot in &plots {
        write(&folder.join("images").join(plot.file), &plot.svg)?;
    }
    write(&folder.join(DOCUMENT), &report::document(results, &plots)?)?;
    eprintln!("{}", folder.join(DOCUMENT).display());
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// To the standard output; that nobody reads on is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
