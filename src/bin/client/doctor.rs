//! `frameserve-client doctor`: what this program and the server consist of, and whether they are well.

use std::fmt::Write as _;
use std::process::Command;

use frameserve::client::{Code, ServingStatus};
use frameserve::proto::{Codec, DescribeReply, Encoding, Limits};
use opencv::core::{Mat, Scalar, Size};
use opencv::prelude::*;
use opencv::videoio::VideoWriter;

use crate::args::DoctorArgs;
use crate::failure::{Exit, Failure};
use crate::hush::Hush;
use crate::models::overview;
use crate::models::overview::counted;
use crate::report::short;

const LABEL: usize = 18;

/// Prints as it finds out, so that what is known is there when something fails.
pub async fn doctor(args: &DoctorArgs, say: impl Fn(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    say(&own()?)?;
    if args.offline {
        return Ok(());
    }
    let client = args.server.connect().await?;
    let inference = args.server.connect_for_models().await?;
    let described = match client.describe().await {
        // It may be another server of models.
        Err(error) if error.code() == Some(Code::Unimplemented) => {
            say(&overview::server(&inference).await?)?;
            return say(&overview::text(&inference, &[]).await?);
        }
        described => described?,
    };
    say(&server(client.url(), &described))?;
    let mut health = String::new();
    let mut ill = Vec::new();
    // Protocols beside frameserve's own are listed too, and need not have a health of their own.
    let own_service = "ImageTest".to_string();
    for service in ["".to_string(), own_service] {
        let shown = if service.is_empty() { "the server" } else { &service };
        let status = match client.health(&service).await {
            Ok(ServingStatus::Serving) => "serving".to_string(),
            Ok(status) => status.as_str_name().to_lowercase().replace('_', " "),
            Err(error) => error.to_string(),
        };
        if status != "serving" {
            ill.push(format!("{shown}: {status}"));
        }
        row(&mut health, &format!("health, {shown}"), &status);
    }
    say(&health)?;
    say(&overview::text(&inference, &described.models).await?)?;
    match ill.as_slice() {
        [] => Ok(()),
        ill => Err(Failure { exit: Exit::Refused, message: format!("not well: {}", ill.join("; ")) }),
    }
}

fn own() -> Result<String, Failure> {
    let mut text = String::from("This program\n");
    row(&mut text, "frameserve", env!("CARGO_PKG_VERSION"));
    row(&mut text, "OpenCV", &opencv::core::get_version_string()?);
    row(&mut text, "ffmpeg program", &program_version("ffmpeg", "not found: --copy-audio needs it"));
    let without = "not found: it would tell true frame rates and whether there is sound";
    row(&mut text, "ffprobe program", &program_version("ffprobe", without));
    let h264 = if encodes("avc1") { "yes" } else { "no: .mp4 files are written as mp4v (MPEG-4 part 2)" };
    row(&mut text, "writes H.264", h264);
    row(&mut text, "built with", if cfg!(feature = "torch") { "torch" } else { "no optional features" });
    let profile =
        if cfg!(debug_assertions) { "debug: expect less speed than from a release build" } else { "release" };
    row(&mut text, "build", profile);
    Ok(text)
}

fn server(url: &str, described: &DescribeReply) -> String {
    let mut text = format!("\nServer at {url}\n");
    let or =
        |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_string() } else { text.to_string() };
    row(&mut text, "frameserve", &described.version);
    row(&mut text, "OpenCV", &described.opencv_version);
    row(&mut text, "libtorch", &or(&described.libtorch_version, "built without it"));
    let cuda = match described.cuda_devices.as_slice() {
        [] => format!("none{}", prefixed(": ", &described.cuda_reason)),
        devices => devices.join(", "),
    };
    row(&mut text, "CUDA", &cuda);
    row(&mut text, "CPU threads", &described.threads.to_string());
    row(&mut text, "models run on", &models_run_on(described));
    row(&mut text, "open streams", &described.open_streams.to_string());
    if described.draining {
        row(&mut text, "state", "draining: it takes no new streams");
    }
    row(&mut text, "services", &described.services.join(", "));
    row(&mut text, "stages", &format!("{} (see `frameserve-client pipelines`)", described.stages.len()));
    row(&mut text, "named pipelines", &or(&names(described), "none"));
    row(&mut text, "default pipeline", &or(&described.default_pipeline, "none: frames come back unchanged"));
    row(&mut text, "default window", &format!("{} frames", described.default_window));
    for (title, chosen) in
        [("reads", (|codec| codec.decodes) as fn(&Codec) -> bool), ("writes", |codec| codec.encodes)]
    {
        let codecs: Vec<String> =
            described.codecs.iter().filter(|codec| chosen(codec)).map(codec_name).collect();
        row(&mut text, title, &codecs.join(", "));
    }
    if let Some(limits) = &described.limits {
        for (name, value) in limit_rows(limits) {
            row(&mut text, name, &value);
        }
    }
    text
}

/// The devices, and how those models compute that do not say.
fn models_run_on(described: &DescribeReply) -> String {
    let precision = prefixed("; if they do not say, with ", &described.precision);
    let threads = match described.instance_threads {
        0 => String::new(),
        threads => format!(" and {} an instance", counted(threads, "thread")),
    };
    format!("{}{precision}{threads}", described.devices.join(", "))
}

fn names(described: &DescribeReply) -> String {
    let names: Vec<&str> = described.named_pipelines.iter().map(|named| named.name.as_str()).collect();
    names.join(", ")
}

fn limit_rows(limits: &Limits) -> [(&'static str, String); 7] {
    [
        ("most streams", limits.max_streams.to_string()),
        ("largest window", format!("{} frames", limits.max_window)),
        ("largest queue", format!("{} frames", limits.max_queue)),
        ("largest picture", format!("{} megapixels", short(limits.max_pixels as f64 / 1e6))),
        ("largest message", format!("{} MiB", short(limits.max_message_bytes as f64 / 1_048_576.0))),
        ("most held", format!("{} MiB a stream", short(limits.max_stream_bytes as f64 / 1_048_576.0))),
        ("most stages", limits.max_stages.to_string()),
    ]
}

fn codec_name(codec: &Codec) -> String {
    let name = match codec.encoding() {
        Encoding::Raw => format!("raw {}", codec.pixel_format().as_str_name().to_lowercase()),
        encoding => encoding.as_str_name().to_string(),
    };
    match codec.library.as_str() {
        "" => name,
        library => format!("{name} ({library})"),
    }
}

/// Whether a video of that codec can really be written, which a list of encoders wouldn't tell.
fn encodes(codec: &str) -> bool {
    let path = std::env::temp_dir().join(format!("frameserve-doctor-{}.mp4", std::process::id()));
    let written = (|| -> opencv::Result<bool> {
        let [a, b, c, d] = codec.chars().collect::<Vec<_>>()[..] else { return Ok(false) };
        let fourcc = VideoWriter::fourcc(a, b, c, d)?;
        let size = Size::new(64, 64);
        let hush = Hush::new();
        let mut writer = VideoWriter::new(&path, fourcc, 25.0, size, true)?;
        drop(hush);
        if !writer.is_opened()? {
            return Ok(false);
        }
        writer.write(&Mat::new_size_with_default(size, opencv::core::CV_8UC3, Scalar::all(90.0))?)?;
        writer.release()?;
        Ok(true)
    })();
    let there = std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
    let _ = std::fs::remove_file(&path);
    written.unwrap_or(false) && there
}

fn program_version(program: &str, otherwise: &str) -> String {
    let output = Command::new(program).arg("-version").output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = text.and_then(|text| text.split_whitespace().nth(2).map(str::to_string));
    version.unwrap_or_else(|| otherwise.to_string())
}

fn row(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "  {label:LABEL$}  {value}");
}

fn prefixed(prefix: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{prefix}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_anything_is_described() {
        let text = server("http://h:1", &DescribeReply::default());
        assert!(text.contains("built without it") && text.contains("CUDA                none\n"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        assert_eq!(program_version("no-such-program-here", "not found"), "not found");
    }
}
