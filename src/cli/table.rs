//! Tables and figures of fixed width.

use super::screen::columns;
use console::Term;
use std::iter::{once, repeat};

/// Characters of the longest bar, and of the shortest for which room is made.
const BAR: usize = 18;
const LEAST_BAR: usize = 6;

/// Rows below their names: the first column to the left, the others to the right. Where the screen is too narrow, the last columns
/// stand in lines of their own below the first ones.
pub(crate) fn table(names: &[&str], rows: &[Vec<String>]) -> String {
    table_within(columns(&Term::stdout()).unwrap_or(usize::MAX), names, rows)
}

/// The same with a bar behind each of the first rows, as long as its share of 1; none where the screen is too narrow.
pub(crate) fn table_with_bars(names: &[&str], rows: &[Vec<String>], shares: &[f64]) -> String {
    with_bars_within(columns(&Term::stdout()).unwrap_or(usize::MAX), names, rows, shares)
}

fn with_bars_within(screen: usize, names: &[&str], rows: &[Vec<String>], shares: &[f64]) -> String {
    let drawn = table_within(usize::MAX, names, rows);
    let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let room = screen.saturating_sub(widest + 2).min(BAR);
    if room < LEAST_BAR {
        return table_within(screen, names, rows);
    }
    let bars = once(String::new()).chain(shares.iter().map(|share| bar(*share, room))).chain(repeat(String::new()));
    let line = |(line, bar): (&str, String)| format!("{line:<widest$}  {bar}").trim_end().to_owned() + "\n";
    drawn.lines().zip(bars).map(line).collect()
}

/// The same for a screen of `width` columns.
pub(crate) fn table_within(width: usize, names: &[&str], rows: &[Vec<String>]) -> String {
    let screen = width;
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).chain([names[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    // Columns stand closer where that makes them fit.
    let fits = |gap: usize| widths.iter().sum::<usize>() + gap * (widths.len() - 1) <= screen;
    let gap = if fits(2) || !fits(1) { 2 } else { 1 };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let (mut out, mut used) = (String::new(), 0);
        for (i, (cell, width)) in cells.zip(&widths).enumerate() {
            if i > 0 && used + gap + width > screen {
                out.truncate(out.trim_end().len());
                out.push('\n');
                used = 0;
            }
            out += &if i == 0 { format!("{cell:<width$}") } else { format!("{:gap$}{cell:>width$}", "") };
            used += width + if i == 0 { 0 } else { gap };
        }
        out.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut names.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// `value` with three digits or more.
pub(crate) fn figure(value: f64) -> String {
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 999.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A share of 1 in percent; a dash where there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    match share.filter(|share| share.is_finite()) {
        Some(share) => format!("{:.1} %", 100.0 * share),
        None => "-".into(),
    }
}

/// A share of 1 as a bar of up to `width` characters.
fn bar(share: f64, width: usize) -> String {
    "#".repeat(((share * width as f64).round() as usize).min(width))
}

/// `n` in thousands, millions or billions.
pub(crate) fn count(n: u64) -> String {
    let (divisor, unit) = match n {
        0..1000 => return n.to_string(),
        1000..1_000_000 => (1e3, "k"),
        1_000_000..1_000_000_000 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    format!("{} {unit}", figure(n as f64 / divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["a".into(), "1".into()], vec!["long".into(), "1000".into()]];
        assert_eq!(table(&["n", "size"], &rows), "n     size\na        1\nlong  1000\n");
    }

    #[test]
    fn bars_have_the_room_that_is_left() {
        let rows = [["a", "1"], ["b", "2"], ["total", "3"]].map(|row| row.map(String::from).to_vec());
        let drawn = |screen| with_bars_within(screen, &["", "n"], &rows, &[0.5, 2.0]);
        assert_eq!(drawn(16), "       n\na      1  ###\nb      2  ######\ntotal  3\n");
        assert_eq!(drawn(15), table_within(15, &["", "n"], &rows));
        assert!(drawn(usize::MAX).contains(&format!("2  {}\n", "#".repeat(BAR))));
    }

    #[test]
    fn columns_that_find_no_room_stand_below() {
        let rows = [["a", "1", "20", "3"], ["long", "1000", "2", "30"]].map(|row| row.map(String::from).to_vec());
        let narrow = "n     size\n   b   c\na        1\n  20   3\nlong  1000\n   2  30\n";
        assert_eq!(table_within(12, &["n", "size", "b", "c"], &rows), narrow);
        let close = "n    size  b  c\na       1 20  3\nlong 1000  2 30\n";
        assert_eq!(table_within(15, &["n", "size", "b", "c"], &rows), close);
        let wide = "n     size   b   c\na        1  20   3\nlong  1000   2  30\n";
        assert_eq!(table_within(18, &["n", "size", "b", "c"], &rows), wide);
    }

    #[test]
    fn figures_have_three_digits() {
        let cases = [(0.0, "0.00"), (9.994, "9.99"), (9.996, "10.0"), (123.44, "123.4"), (1234.5, "1234")];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
        assert_eq!([percent(Some(0.12345)), percent(None), percent(Some(f64::NAN))], ["12.3 %", "-", "-"]);
        assert_eq!([count(999), count(1_540_000), count(1_100_048_384)], ["999", "1.54 M", "1.10 G"]);
    }
}
