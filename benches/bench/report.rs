//! The report: tables on the screen, in `out/bench.md`, and in place of those in a file that was named.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// All that was measured so far.
pub struct Report {
    parts: Vec<(&'static str, String)>,
    write: Option<PathBuf>,
}

/// A Markdown table, with columns that are also columns on a screen.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

const OUT: &str = "out/bench.md";

impl Report {
    /// Fails if there is nothing to write into.
    pub fn new(machine: String, write: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = &write {
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let mut report = Report { parts: Vec::new(), write };
        report.add("machine", &machine)?;
        Ok(report)
    }

    /// Shows a part and keeps it, so that a run that is broken off leaves what it had.
    pub fn add(&mut self, name: &'static str, text: &str) -> Result<()> {
        println!("\n## {name}\n\n{text}");
        self.parts.push((name, text.trim().to_owned()));
        let all: Vec<_> = self.parts.iter().map(|(name, text)| format!("## {name}\n\n{text}\n")).collect();
        if let Some(folder) = Path::new(OUT).parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(OUT, all.join("\n"))?)
    }

    /// Replaces what the named file has between the marks of each part.
    pub fn end(self) -> Result<()> {
        let Some(path) = self.write else { return Ok(()) };
        let mut text = fs::read_to_string(&path)?;
        for (name, part) in &self.parts {
            let (begin, end) = (format!("<!-- measured: {name} -->\n"), "<!-- end -->");
            let no_place = || format!("{} has no place for '{name}'", path.display());
            let from = text.find(&begin).ok_or_else(no_place)? + begin.len();
            let to = from + text[from..].find(end).ok_or_else(no_place)?;
            text.replace_range(from..to, &format!("\n{part}\n\n"));
        }
        Ok(fs::write(&path, text)?)
    }
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Table { header: header.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = || std::iter::once(&self.header).chain(&self.rows);
        let widths: Vec<_> = (0..self.header.len())
            .map(|column| rows().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for (index, row) in rows().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Whether a target is met.
pub fn verdict(value: f64, met: impl FnOnce(f64) -> bool) -> String {
    if met(value) { "met" } else { "missed" }.into()
}

/// A pipeline as a table can have it.
pub fn shown(pipeline: &str) -> String {
    if pipeline.is_empty() { "none".into() } else { format!("`{}`", pipeline.replace('|', "\\|")) }
}
