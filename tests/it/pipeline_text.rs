//! The text of pipelines: what is printed can be read, and nothing that can be read breaks the reader.

use frameserve::pipeline::names::Names;
use frameserve::pipeline::param::{Param, Range};
use frameserve::pipeline::spec::{self, StageSpec};
use frameserve::pipeline::stages::KINDS;
use proptest::prelude::*;
use proptest::sample::select;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_pipelines_read_back(specs in any_pipeline(6)) {
        let text = spec::print(&specs);
        let read = spec::parse(&text, &Names::default());
        prop_assert_eq!(read.as_ref(), Ok(&specs), "{}", text);
        prop_assert_eq!(spec::print(&specs), text);
    }

    #[test]
    fn white_space_means_nothing(specs in any_pipeline(4)) {
        let spaced = specs.iter().map(|spec| format!(" \t{spec}\n")).collect::<Vec<_>>().join("|");
        prop_assert_eq!(spec::parse(&spaced, &Names::default()), Ok(specs), "{}", spaced);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = spec::parse(&text, &Names::default());
    }

    #[test]
    fn any_text_of_the_right_parts_is_read_or_refused(parts in prop::collection::vec(part(), 0..24)) {
        let text = parts.concat();
        match spec::parse(&text, &Names::default()) {
            Ok(specs) => prop_assert_eq!(spec::parse(&spec::print(&specs), &Names::default()), Ok(specs)),
            // The message shows the place, so it is made as well.
            Err(error) => prop_assert!(error.to_string().contains("pipeline, character")),
        }
    }
}

/// Up to so many stages with any values within their ranges.
pub(crate) fn any_pipeline(stages: usize) -> impl Strategy<Value = Vec<StageSpec>> {
    prop::collection::vec(any_stage(), 0..=stages)
}

/// Any stage with any values within their ranges.
pub(crate) fn any_stage() -> impl Strategy<Value = StageSpec> {
    select(KINDS).prop_flat_map(|kind| {
        let values: Vec<_> = kind.params.iter().map(any_value).collect();
        values.prop_map(move |values| {
            let named = kind.params.iter().zip(&values);
            let args: Vec<(&str, &str)> =
                named.filter_map(|(param, value)| Some((param.name, value.as_deref()?))).collect();
            StageSpec::new(kind.name, &args).expect("values within their ranges")
        })
    })
}

/// A value as text; `None` for the default, where there is one.
fn any_value(param: &Param) -> BoxedStrategy<Option<String>> {
    let value = match param.range {
        Range::Integer(min, max) => prop_oneof![Just(min), Just(max), min..=max].prop_map_into_text(),
        Range::Odd(min, max) => (min / 2..=(max - 1) / 2).prop_map(|half| half * 2 + 1).prop_map_into_text(),
        Range::Number(min, max) => prop_oneof![Just(min), Just(max), min..=max].prop_map_into_text(),
        // Large sizes are slow and prove nothing.
        Range::Size(max) => (1..=max.min(200), 1..=max.min(200))
            .prop_map(|(width, height)| format!("{width}x{height}"))
            .boxed(),
        Range::Color => prop_oneof![
            select(vec!["black", "white", "red", "magenta"]).prop_map(String::from),
            "#[0-9a-fA-F]{6}",
        ]
        .boxed(),
        Range::Text(max) => prop::collection::vec(any::<char>(), 0..=max.min(20))
            .prop_map(|chars| chars.into_iter().collect())
            .boxed(),
        Range::Choice(words) => select(words).prop_map(String::from).boxed(),
        Range::Flag => any::<bool>().prop_map_into_text(),
    };
    if param.default.is_some() {
        prop_oneof![Just(None), value.prop_map(Some)].boxed()
    } else {
        value.prop_map(Some).boxed()
    }
}

/// Any value as it is printed.
trait IntoText: Strategy {
    fn prop_map_into_text(self) -> BoxedStrategy<String>;
}

impl<S> IntoText for S
where
    S: Strategy + 'static,
    S::Value: ToString,
{
    fn prop_map_into_text(self) -> BoxedStrategy<String> {
        self.prop_map(|value| value.to_string()).boxed()
    }
}

/// Something that may stand in a pipeline's text.
fn part() -> impl Strategy<Value = String> {
    let names = KINDS
        .iter()
        .flat_map(|kind| kind.params.iter().map(|param| param.name).chain([kind.name, kind.example]));
    prop_oneof![
        4 => select(names.collect::<Vec<_>>()).prop_map(String::from),
        4 => select(vec!["|", "=", ",", "'", "\"", "\\", " ", "x", "#", "-1", "3", "1.5", "640x360"])
            .prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ]
}
