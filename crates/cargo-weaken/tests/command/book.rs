//! The examples of weaken, with the verdicts that stand behind their accesses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::fixture::Fixture;

/// `FILE:LINE ORDERING: VERDICT` for each change that an example speaks of: `// Acquire: killed, Relaxed: killed`.
fn promised(file: &str, text: &str) -> Vec<String> {
    let lines = (1..).zip(text.lines());
    let comments = lines.filter_map(|(number, line)| Some((number, line.split_once("// ")?.1)));
    comments
        .flat_map(|(number, comment)| comment.split(", ").map(move |verdict| (number, verdict)))
        .filter(|(_, verdict)| verdict.ends_with(": killed") || verdict.ends_with(": survived"))
        .map(|(number, verdict)| format!("{file}:{number} {verdict}"))
        .collect()
}

#[test]
fn every_example_has_the_verdicts_that_it_promises() {
    let fixture = Fixture::new();
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weaken/examples");
    let here = fixture.path().join("examples");
    fs::create_dir(&here).expect("a folder");
    let mut expected = Vec::new();
    // In weaken itself the feature turns the models on.
    let mut options = vec!["--features=loom".to_owned()];
    fixture.edit("Cargo.toml", "[dependencies]", "[features]\nloom = [\"weaken/loom\"]\n\n[dependencies]");
    for entry in fs::read_dir(book).expect("the examples") {
        let path = entry.expect("an example").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = fs::read_to_string(&path).expect("an example");
        let promised = promised(&format!("examples/{name}.rs"), &text);
        assert!(!promised.is_empty(), "{name} promises nothing");
        expected.extend(promised);
        fs::write(here.join(format!("{name}.rs")), text).expect("a copy");
        options.push(format!("--example={name}"));
    }
    assert_eq!(options.len(), 7, "{options:?}");

    let report = fixture.json(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let mut found = Vec::new();
    let mut times = BTreeMap::new();
    for change in report["mutations"].as_array().expect("changes") {
        let [file, to, verdict] =
            ["file", "to", "verdict"].map(|field| change[field].as_str().expect("a text").to_owned());
        found.push(format!("{file}:{} {to}: {verdict}", change["line"]));
        *times.entry(file).or_insert(0.0) += change["seconds"].as_f64().unwrap_or_default();
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "seconds: {times:?}");
    // What loom cannot tell is told.
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("loom_does_not_know_sequentially_consistent_accesses"), "{warnings}");
}
