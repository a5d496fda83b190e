//! Tables and figures of fixed width.

use super::screen::columns;
use console::Term;

/// Rows below their names: the first column to the left, the others to the right. Where the screen is too narrow, the last columns
/// stand in lines of their own below the first ones.
pub(crate) fn table(names: &[&str], rows: &[Vec<String>]) -> String {
    table_within(columns(&Term::stdout()).unwrap_or(usize::MAX), names, rows)
}

/// The same for a screen of `width` columns.
pub(crate) fn table_within(width: usize, names: &[&str], rows: &[Vec<String>]) -> String {
    let screen = width;
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).chain([names[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let (mut out, mut used) = (String::new(), 0);
        for (i, (cell, width)) in cells.zip(&widths).enumerate() {
            if i > 0 && used + 2 + width > screen {
                out.truncate(out.trim_end().len());
                out.push('\n');
                used = 0;
            }
            out += &if i == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            used += width + if i == 0 { 0 } else { 2 };
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

/// A share of 1 as a bar of up to `width` characters, padded to it.
pub(crate) fn bar(share: f64, width: usize) -> String {
    let length = ((share * width as f64).round() as usize).min(width);
    format!("{:<width$}", "#".repeat(length))
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
        let bars = [vec!["a".into(), bar(0.5, 4)], vec!["b".into(), bar(2.0, 4)]];
        assert_eq!(table(&["", ""], &bars), "\na  ##\nb  ####\n");
    }

    #[test]
    fn columns_that_find_no_room_stand_below() {
        let rows = [["a", "1", "20", "3"], ["long", "1000", "2", "30"]].map(|row| row.map(String::from).to_vec());
        let narrow = "n     size\n   b   c\na        1\n  20   3\nlong  1000\n   2  30\n";
        assert_eq!(table_within(12, &["n", "size", "b", "c"], &rows), narrow);
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
