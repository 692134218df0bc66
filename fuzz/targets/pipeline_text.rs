//! Text of a pipeline -> stages -> canonical text -> the same stages.
//!
//! For any text: reading it ends, in stages or in an error that can be shown, and what was read is printed in
//! a way that reads as the same.
#![no_main]

use frameserve::pipeline::names::Names;
use frameserve::pipeline::spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let names = Names::default();
    match spec::parse(text, &names) {
        Ok(stages) => {
            let printed = spec::print(&stages);
            let again = spec::parse(&printed, &names).expect("what was printed can be read");
            assert_eq!(again, stages, "{printed}");
            assert_eq!(spec::print(&again), printed);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
