//! Rows with their columns under each other.

use std::fmt;

/// Spaces before each row, and between columns.
const GAP: usize = 2;

/// Text on the left, numbers on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

#[derive(Debug, Clone)]
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these titles.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        let titles = columns.iter().map(|(title, _)| (*title).to_string()).collect();
        Table { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![titles] }
    }

    /// One cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.align) {
                line.extend(std::iter::repeat_n(' ', GAP));
                match align {
                    Align::Left => line += &format!("{cell:<width$}"),
                    Align::Right => line += &format!("{cell:>width$}"),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right), ("why", Align::Left)]);
        table.row(["über".into(), "7".into(), String::new()]);
        table.row(["a".into(), "12".into(), "so".into()]);
        assert_eq!(table.to_string(), "  name   n  why\n  über   7\n  a     12  so\n");
    }
}
