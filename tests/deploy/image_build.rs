//! The files that the Dockerfile copies are sufficient for its build, as far as can be checked without
//! Docker.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cargo_metadata::{CargoOpt, MetadataCommand};
use tempfile::TempDir;

use super::DOCKERFILE;

const IGNORED: &str = include_str!("../../deploy/docker/Dockerfile.dockerignore");

#[test]
fn copied_files_are_sufficient_for_cargo() {
    let folder = TempDir::new().unwrap();
    for name in copied() {
        let from = fs::canonicalize(name).unwrap();
        let to = folder.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        symlink(from, to).unwrap();
    }
    let mut command = MetadataCommand::new();
    command
        .manifest_path(folder.path().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures);
    // Crates for other platforms may not be available.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--offline", "--filter-platform", &platform];
    let metadata = command
        .other_options(options.map(str::to_owned))
        .exec()
        .unwrap();
    let package = metadata.root_package().unwrap();
    let binary = package
        .targets
        .iter()
        .find(|target| target.is_bin())
        .unwrap();
    assert!(DOCKERFILE.contains(&format!("--bin {}", binary.name)));
    assert!(DOCKERFILE.contains(&format!("target/dist/{}", binary.name)));
    assert!(binary.src_path.exists());
}

#[test]
fn targets_that_are_not_copied_have_a_path() {
    // Without a path, Cargo looks for the file when it builds the binary, and fails.
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let targets = ["test", "bench"].map(|kind| manifest[kind].as_array().unwrap());
    for target in targets.into_iter().flatten() {
        assert!(target.get("path").is_some(), "{target} has no path");
    }
}

#[test]
fn build_context_has_exactly_the_copied_files() {
    let mut sent: Vec<&str> = IGNORED
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    assert!(IGNORED.lines().any(|line| line == "*"), "{IGNORED}");
    let mut copied = copied();
    sent.sort_unstable();
    copied.sort_unstable();
    assert_eq!(sent, copied);
    assert!(copied.iter().all(|name| Path::new(name).exists()));
}

/// The paths that are copied from the repository.
fn copied() -> Vec<&'static str> {
    let lines = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    let from_here = lines.filter(|line| !line.starts_with("--from="));
    // The last argument is the destination.
    from_here
        .flat_map(|line| line.split(' ').rev().skip(1))
        .collect()
}
