//! `Describe`: what this server can do.

use super::convert;
use crate::engine::Engine;
use crate::frame::{Codec, PixelFormat};
use crate::model::settings::INSTANCE_THREADS;
use crate::model::{self, Habits, Version};
use crate::pipeline::names::Names;
use crate::pipeline::param::{Param, Range};
use crate::pipeline::stage::{Group, StageKind};
use crate::pipeline::{spec, stages};
use crate::proto::{self, DescribeReply};

/// The reply to `Describe`.
pub fn describe(engine: &Engine, services: &[String]) -> DescribeReply {
    let config = engine.config();
    let torch = model::torch();
    DescribeReply {
        version: env!("CARGO_PKG_VERSION").into(),
        opencv_version: opencv::core::CV_VERSION.into(),
        libtorch_version: torch.version.into(),
        cuda_devices: torch.cuda_devices.clone(),
        cuda_reason: torch.cuda_reason.clone(),
        threads: u32::try_from(engine.threads()).unwrap_or(u32::MAX),
        stages: stages(),
        named_pipelines: config
            .pipelines
            .iter()
            .map(|(name, named)| proto::NamedPipeline {
                name: name.into(),
                pipeline: spec::print(&named.stages),
                doc: named.doc.clone(),
            })
            .collect(),
        codecs: [Codec::Jpeg, Codec::Png, Codec::Webp]
            .into_iter()
            .chain(PixelFormat::ALL.map(Codec::Raw))
            .map(codec)
            .collect(),
        limits: Some(convert::limits(&config.limits)),
        default_window: u32::try_from(config.default_window).unwrap_or(u32::MAX),
        default_pipeline: config.default_pipeline.clone(),
        services: services.to_vec(),
        open_streams: u32::try_from(engine.open_streams()).unwrap_or(u32::MAX),
        draining: engine.drain().is_cancelled(),
        frames_taken: engine.frames_taken(),
        devices: engine.models().means().devices.iter().map(ToString::to_string).collect(),
        models: engine.models().ready().iter().map(|version| loaded(version)).collect(),
        precision: config.models.precision.to_string(),
        instance_threads: INSTANCE_THREADS,
    }
}

fn loaded(version: &Version) -> proto::LoadedModel {
    let Habits { threads, precision, form } = version.habits();
    proto::LoadedModel {
        name: version.settings().name.clone(),
        version: version.number(),
        instances: version.instances().iter().map(ToString::to_string).collect(),
        threads: threads.unwrap_or_default(),
        precision: precision.as_ref().map(ToString::to_string).unwrap_or_default(),
        form: form.unwrap_or_default().into(),
        warmed: !version.settings().warmup.is_empty(),
    }
}

/// Every stage of this version, as `Describe` lists it.
pub fn stages() -> Vec<proto::Stage> {
    stages::KINDS.iter().map(|kind| stage(kind)).collect()
}

fn stage(kind: &StageKind) -> proto::Stage {
    proto::Stage {
        name: kind.name.into(),
        doc: kind.doc.into(),
        stateful: is_stateful(kind),
        parameters: kind.params.iter().map(parameter).collect(),
        example: kind.example.into(),
        group: match kind.group {
            Group::Geometry => "geometry",
            Group::Color => "color",
            Group::Filter => "filter",
            Group::Edges => "edges",
            Group::Draw => "draw",
            Group::Find => "find",
            Group::Model => "model",
            Group::Time => "time",
        }
        .into(),
    }
}

fn parameter(param: &Param) -> proto::Parameter {
    let bounds = param.range.bounds();
    proto::Parameter {
        name: param.name.into(),
        r#type: param.range.type_name().into(),
        default_value: param.default.unwrap_or_default().into(),
        required: param.default.is_none(),
        range: param.range.to_string(),
        choices: match param.range {
            Range::Choice(words) => words.iter().map(|word| (*word).into()).collect(),
            _ => Vec::new(),
        },
        minimum: bounds.map(|(min, _)| min),
        maximum: bounds.map(|(_, max)| max),
        doc: param.doc.into(),
        keeps_state: param.keeps_state,
    }
}

fn codec(codec: Codec) -> proto::Codec {
    let (encoding, format) = convert::wire_codec(codec);
    proto::Codec {
        encoding: encoding.into(),
        pixel_format: format.into(),
        decodes: true,
        encodes: true,
        library: codec.library(),
    }
}

/// Whether the stage of the kind's own example is, or one with other parameters may be.
fn is_stateful(kind: &StageKind) -> bool {
    if kind.params.iter().any(|param| param.keeps_state) {
        return true;
    }
    let example = spec::parse(kind.example, &Names::default()).unwrap_or_default();
    example.last().is_some_and(|spec| (spec.kind.build)(&spec.args).is_ok_and(|stage| stage.is_stateful()))
}
