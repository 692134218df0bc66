//! What the documents say is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use frameserve::limits::Limits;
use frameserve::pipeline::names::Names;
use frameserve::pipeline::{Pipeline, stages};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_readme_lists_every_stage_and_no_other() {
    let readme = read("README.md");
    let table = readme.split("## Stages").nth(1).unwrap().split("\n\n").nth(1).unwrap();
    let listed: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    let known: BTreeSet<&str> = stages::KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(listed, known);
}

#[test]
fn the_readmes_pipelines_are_pipelines() {
    let readme = read("README.md");
    let mut names = Names::default();
    names.insert("small", "resize=640x360,fit", "").unwrap();
    let quoted = readme.split('`').skip(1).step_by(2).filter(|text| text.contains(" | "));
    let given = readme.lines().filter_map(|line| line.split("--pipeline '").nth(1)?.split('\'').next());
    let mut count = 0;
    for text in quoted.chain(given) {
        Pipeline::parse(text, &names, &Limits::default()).unwrap();
        count += 1;
    }
    assert!(count >= 3, "only {count} were found");
}
