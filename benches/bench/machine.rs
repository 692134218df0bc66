//! Where it was measured, and with what.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::args::Asked;
use crate::process::Cores;

/// Where more than this goes on beside the measuring, it is said.
const BUSY: f64 = 0.5;
const BUSY_MACHINE: &str = "; the machine was busy: a server has more threads than a loop and is given more of a \
                            contended core, so only the processor time of a frame can be relied on";

/// As a list of a report.
pub fn describe(cores: &Cores, asked: &Asked) -> Result<String> {
    let usable = std::thread::available_parallelism()?;
    let pinned = match cores {
        Cores { server: Some(server), client: Some(client) } => {
            format!("server on core {server}, client on core {client}, where it says pinned")
        }
        _ => "fewer than two cores, so that nothing is pinned and client and server are in each other's way"
            .into(),
    };
    let clock = said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
    let load: f64 = read("/proc/loadavg").split_whitespace().next().unwrap_or_default().parse()?;
    let busy = if load > BUSY { BUSY_MACHINE } else { "" };
    Ok(format!(
        "- {clock}, load average {load} at the start{busy}\n\
         - {processor}, {usable} cores, {memory} GiB; {system}, Linux {kernel}\n\
         - frameserve {version}, {rustc}, OpenCV {opencv}, libjpeg-turbo 3\n\
         - {pinned}\n\
         - {pairs} pairs of {seconds} s each, after {warm_up} s that are not counted\n",
        processor = field("/proc/cpuinfo", "model name"),
        memory = kib("/proc/meminfo", "MemTotal") >> 20,
        system = field("/etc/os-release", "PRETTY_NAME"),
        kernel = read("/proc/sys/kernel/osrelease").trim(),
        version = env!("CARGO_PKG_VERSION"),
        rustc = said("rustc", &["--version"]),
        opencv = opencv::core::CV_VERSION,
        pairs = asked.pairs,
        seconds = asked.span.seconds,
        warm_up = asked.span.warm_up,
    ))
}

/// The value of a line `name : value` or `name=value`.
fn field(file: &str, name: &str) -> String {
    let text = read(file);
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?");
    rest.trim_matches(|c: char| c.is_whitespace() || [':', '=', '"'].contains(&c)).to_owned()
}

fn kib(file: &str, name: &str) -> u64 {
    field(file, name).trim_end_matches(" kB").parse().unwrap_or_default()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| format!("no {program}"))
}
