//! Bytes of a model archive -> a model's folder or an error.
//!
//! For any bytes: opening it does not panic, and what was unpacked lies in the model's own folder.
#![no_main]

use std::fs;

use frameserve::Error;
use frameserve::model::archive::{ModelArchive, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = folder.path().join("model.mar");
    fs::write(&path, input).expect("it can be written to");
    match ModelArchive::open(&path, &Wanted::default()) {
        Ok(opened) => {
            let files = fs::read_dir(opened.folder.folder().join("1")).expect("a version was unpacked");
            let names: Vec<_> = files.map(|file| file.expect("it can be read").file_name()).collect();
            assert!(names.iter().all(|name| name == "model.pt" || name == "labels.txt"), "{names:?}");
        }
        Err(error) => assert!(matches!(error, Error::Load(_)), "a stranger's bytes are no fault of ours: {error}"),
    }
});
