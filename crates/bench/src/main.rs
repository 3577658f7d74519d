//! The command behind `cargo xtask bench`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use arenaq_bench::child::{self, Job};
use arenaq_bench::plan::{self, Part};
use arenaq_bench::results::Results;
use arenaq_bench::{goals, overview, plot, report};
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
    /// Writes documents and pictures once more, from the JSON of earlier runs.
    Render {
        /// Where the documents go; the JSON is in its folder `benchmarks`, a file for each processor.
        #[arg(long)]
        folder: PathBuf,
    },
    /// One run, in this process.
    #[command(hide = true)]
    Child(Job),
}

#[derive(Args)]
struct Measure {
    /// Few short rounds: under 4 minutes.
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
            for results in measured(&folder)? {
                write_page(&results, &folder)?;
            }
            write_overview(&folder)
        }
        Command::Child(job) => {
            child::end_with_parent()?;
            println!("{}", job.run()?);
            Ok(())
        }
    }
}

/// In it, a JSON, a page and a folder of pictures for each processor.
const PROCESSORS: &str = "benchmarks";
const DOCUMENT: &str = "benchmarks.md";

fn measure(arguments: &Measure) -> anyhow::Result<()> {
    // Before the run, which takes minutes.
    let processors = arguments.folder.join(PROCESSORS);
    fs::create_dir_all(&processors).with_context(|| processors.display().to_string())?;
    let parts = if arguments.only.is_empty() { &Part::ALL[..] } else { &arguments.only };
    let results = plan::run(parts, arguments.quick);
    let file = processors.join(results.machine.file_name() + ".json");
    write(&file, &(serde_json::to_string_pretty(&results)? + "\n"))?;
    write_page(&results, &arguments.folder)?;
    write_overview(&arguments.folder)?;
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

/// The results of every processor, in the order of their files' names.
fn measured(folder: &Path) -> anyhow::Result<Vec<Results>> {
    let processors = folder.join(PROCESSORS);
    let mut files = Vec::new();
    for entry in fs::read_dir(&processors).with_context(|| processors.display().to_string())? {
        let file = entry.with_context(|| processors.display().to_string())?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    };
    files.iter().map(read).collect()
}

/// The page of one processor, and its pictures.
fn write_page(results: &Results, folder: &Path) -> anyhow::Result<()> {
    let processors = folder.join(PROCESSORS);
    let name = results.machine.file_name();
    let pictures = processors.join(&name);
    fs::create_dir_all(&pictures).with_context(|| pictures.display().to_string())?;
    let plots = plot::all(results)?;
    for plot in &plots {
        write(&pictures.join(plot.file), &plot.svg)?;
    }
    write(&processors.join(name + ".md"), &report::document(results, &plots)?)
}

/// The page about all processors.
fn write_overview(folder: &Path) -> anyhow::Result<()> {
    write(&folder.join(DOCUMENT), &overview::document(&measured(folder)?)?)?;
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
