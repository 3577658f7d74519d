//! A clean copy of a crate, by cargo and from where the machine's configuration says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use duct::cmd;
use serde_json::Value;

use super::recipe::Recipe;
use crate::command::root;

/// Downloads the package into target/peers/NAME, where nothing of an earlier run stays, and returns its folder.
pub(crate) fn download(recipe: &Recipe) -> anyhow::Result<PathBuf> {
    let Recipe { name, version, .. } = recipe;
    let folder = root().join("target/peers").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder.join("src")).with_context(|| folder.display().to_string())?;
    fs::write(folder.join("src/lib.rs"), "")?;
    fs::write(
        folder.join("Cargo.toml"),
        format!(
            "[package]\nname = \"download\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{name} = \"={version}\"\n"
        ),
    )?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    cmd!(cargo, "vendor", "--quiet", "vendor")
        .dir(&folder)
        .stdout_null()
        .run()
        .with_context(|| format!("cargo cannot download {name} {version}: see above"))?;
    let package = folder.join("vendor").join(name);
    let checksum = checksum(&package)?;
    if checksum != recipe.checksum {
        bail!(
            "{name} {version} has the checksum {checksum}, and its recipe says {}: it is not the package that \
             was looked at",
            recipe.checksum
        );
    }
    let source = folder.join("package");
    fs::rename(&package, &source).with_context(|| source.display().to_string())?;
    fs::remove_dir_all(folder.join("vendor"))?;
    prepare(&source)?;
    Ok(source)
}

/// What cargo has verified.
fn checksum(package: &Path) -> anyhow::Result<String> {
    let file = package.join(".cargo-checksum.json");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let sums: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    let sum = sums["package"].as_str();
    sum.map(str::to_owned).with_context(|| format!("{} has no checksum of the package", file.display()))
}

/// Makes the package a workspace of its own, with this repository's weaken and the loom of its Cargo.lock.
fn prepare(source: &Path) -> anyhow::Result<()> {
    let manifest = source.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let weaken = root().join("crates/weaken");
    text += &format!("\n[workspace]\n\n[patch.crates-io]\nweaken = {{ path = {weaken:?} }}\n");
    fs::write(&manifest, text).with_context(|| manifest.display().to_string())?;
    fs::copy(root().join("Cargo.lock"), source.join("Cargo.lock")).context("Cargo.lock")?;
    Ok(())
}
