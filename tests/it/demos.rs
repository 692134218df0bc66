//! `make demo` and the like, in a clone where nothing was set up: what they need is what their set-up brings.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::program::root;

/// Runs a program in a folder, with nothing said about what is there already.
fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder);
    for variable in ["LIBTORCH", "TORCH", "VIDEO", "PIPELINE", "CARGO_TARGET_DIR", "MAKEFLAGS"] {
        command.env_remove(variable);
    }
    command.output().unwrap()
}

/// What the set-up of a target would bring, in its own words.
fn brought(clone: &Path, target: &str) -> String {
    let planned = run(clone, &["make", "--dry-run", target]);
    let planned = String::from_utf8(planned.stdout).unwrap();
    let steps = planned.lines().filter_map(|line| line.strip_prefix("scripts/setup "));
    let groups: Vec<&str> = steps.flat_map(str::split_whitespace).collect();
    assert!(!groups.is_empty(), "{planned}");
    let listed = run(clone, &[&["scripts/setup", "--check"], &groups[..]].concat());
    String::from_utf8(listed.stdout).unwrap()
}

/// Everything that a demo misses, one after the other, each made when it is asked for.
fn missed(clone: &Path, demo: &[&str]) -> Vec<String> {
    let mut missed = Vec::new();
    loop {
        let said = run(clone, &[&["scripts/demo"], demo].concat());
        let said = String::from_utf8(said.stderr).unwrap();
        let Some(path) =
            said.strip_prefix("demo: there is no ").and_then(|rest| rest.split(": run make ").next())
        else {
            // The programs are empty here: this is as far as a demo gets that has all it needs.
            assert!(said.contains("the server did not start"), "{said}");
            return missed;
        };
        let place = clone.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, "").unwrap();
        missed.push(path.into());
    }
}

#[test]
fn what_a_demo_needs_its_set_up_brings() {
    // Of the models' files, those that are part of the repository are the ones that are not left out of it.
    let shipped = fs::read_to_string(root().join(".gitignore")).unwrap();
    for demo in [&[][..], &["style"], &["detect"]] {
        let clone = tempfile::tempdir().unwrap();
        let clone = clone.path();
        fs::create_dir(clone.join("scripts")).unwrap();
        for part in ["Makefile", "rust-toolchain.toml", "scripts/setup", "scripts/demo"] {
            fs::copy(root().join(part), clone.join(part)).unwrap();
        }
        let target = [&["demo"], demo].concat().join("-");
        let brought = brought(clone, &target);
        let missed = missed(clone, demo);
        println!("{target} needs {missed:?}");
        assert!(missed.iter().any(|path| path.starts_with(".deps/videos/")), "{target}: {missed:?}");
        for path in missed {
            let named = |word: &str| brought.split([' ', ',', '\n']).any(|each| each == word);
            let known = match path.split('/').collect::<Vec<_>>()[..] {
                ["target", ..] => true,
                [".deps", "videos", file] => named(file),
                ["samples", "models", model, ..] => named(model) || shipped.contains(&format!("!/{path}\n")),
                _ => false,
            };
            assert!(known, "{target} needs {path}, and its set-up brings: {brought}");
        }
    }
}
