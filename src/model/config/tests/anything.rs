//! Configurations of anything.

use proptest::prelude::*;

use super::{folder, read, read_from};

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = read(&text, &[]);
        let _ = read_from(&folder(&[]), Some(&text));
    }

    #[test]
    fn no_words_of_its_own_make_it_panic(words in proptest::collection::vec(word(), 0..60)) {
        let _ = read(&words.join(" "), &[]);
    }

    #[test]
    fn no_numbers_make_it_panic(batch in any::<i32>(), dims in dims(), shape in dims(), count in any::<u32>()) {
        let text = format!(
            "max_batch_size: {batch} backend: 'identity' input {{ name: 'x' data_type: TYPE_FP32 dims: {dims:?} \
             reshape {{ shape: {shape:?} }} }} output {{ name: 'y' data_type: TYPE_STRING dims: {dims:?} }} \
             model_warmup {{ batch_size: {count} inputs {{ key: 'x' value {{ data_type: TYPE_FP32 dims: {dims:?} \
             zero_data: true }} }} }}"
        );
        let _ = read(&text, &[]);
    }
}

fn dims() -> impl Strategy<Value = Vec<i64>> {
    let dim = prop_oneof![Just(-1), Just(0), Just(1), 1..5_i64, any::<i64>()];
    proptest::collection::vec(dim, 0..4)
}

/// Words of which configurations consist, so that more of them get past the parser.
fn word() -> impl Strategy<Value = String> {
    let words = "{ } [ ] < > : , ; # ' \" \\ -1 0 1 99999999999 0x7f 1.5e9 true 'x' \"y\" 'frameserve.task' TYPE_FP32 \
                 TYPE_STRING name: input output data_type: dims: reshape shape: max_batch_size: instance_group count: \
                 gpus: kind: KIND_GPU dynamic_batching preferred_batch_size: priority_levels: model_warmup inputs key: \
                 value zero_data: batch_size: parameters string_value: version_policy latest specific versions: \
                 backend: 'identity' [a.b/inference.ModelInput] [x] label_filename: '..' optional:";
    prop_oneof![
        9 => proptest::sample::select(words.split(' ').map(String::from).collect::<Vec<_>>()),
        1 => ".{0,5}",
        3 => Just("input { name: 'x' data_type: TYPE_FP32 dims: 2 }".into()),
        3 => Just("output { name: 'y' data_type: TYPE_FP32 dims: 2 }".into()),
    ]
}
