//! Colours and widths of what is drawn on a terminal. Without colours the same characters are drawn and marks stand in.

use super::super::args::views::{Color, Display};
use super::super::screen;
use console::{Term, measure_text_width};
use std::io::{self, IsTerminal};

/// The columns of a screen that says nothing.
const WIDTH: usize = 80;

/// Backgrounds of neighbouring pieces, dark enough for white letters and apart for every eye: of the 256 colours.
const PIECES: [u8; 6] = [25, 130, 29, 90, 94, 60];
/// From cold to hot: backgrounds of the 256 colours with the letters (black or white) that are read on them. What is cold has the
/// colours of the terminal, and the others are told from a black screen as from a white one.
const HEAT: [Option<(u8, u8)>; 8] = [
    None,
    Some((66, 16)),
    Some((68, 16)),
    Some((37, 16)),
    Some((71, 16)),
    Some((178, 16)),
    Some((208, 16)),
    Some((160, 231)),
];

/// What is drawn on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canvas {
    color: bool,
    /// Columns.
    pub(crate) width: usize,
}

impl Canvas {
    /// Standard output as the arguments want it.
    pub(crate) fn new(display: &Display) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = match display.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && colors_wanted(),
        };
        let width = display.width.map(usize::from).or_else(|| screen::columns(&Term::stdout())).unwrap_or(WIDTH);
        Canvas { color, width }
    }

    /// `wide` columns of a screen that has 60 or more, else `narrow` ones.
    pub(crate) fn room(&self, wide: usize, narrow: usize) -> usize {
        if self.width < 60 { narrow } else { wide }
    }

    /// A screen of `width` columns without colours.
    #[cfg(test)]
    pub(crate) fn plain(width: usize) -> Self {
        Canvas { color: false, width }
    }

    /// The same with colours.
    #[cfg(test)]
    pub(crate) fn coloured(width: usize) -> Self {
        Canvas { color: true, width }
    }

    fn code(&self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.into() }
    }

    /// There are colours.
    pub(crate) fn has_color(&self) -> bool {
        self.color
    }

    /// A heading.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.code("1", text)
    }

    /// What is read second.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.code("2", text)
    }

    /// What was chosen.
    pub(crate) fn chosen(&self, text: &str) -> String {
        self.code("1;32", text)
    }

    /// What the arrow keys are on.
    pub(crate) fn selected(&self, text: &str) -> String {
        self.code("7", text)
    }

    /// A bar.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.code("36", text)
    }

    /// A bar of what was chosen, or of what is below zero.
    pub(crate) fn fill_chosen(&self, text: &str) -> String {
        self.code("32", text)
    }

    /// The `index`-th of pieces side by side.
    pub(crate) fn piece(&self, index: usize, text: &str) -> String {
        self.code(&format!("97;48;5;{}", PIECES[index % PIECES.len()]), text)
    }

    /// `text` on a background that says how large `share` is, 0 to 1.
    pub(crate) fn heat(&self, share: f64, text: &str) -> String {
        match HEAT[step(share, HEAT.len())] {
            Some((background, letters)) => self.code(&format!("38;5;{letters};48;5;{background}"), text),
            None => text.into(),
        }
    }

    /// Two columns that say how large `share` is, 0 to 1.
    pub(crate) fn cell(&self, share: f64) -> String {
        const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];
        match (self.color, step(share, HEAT.len())) {
            (true, 0) => self.dim("· "),
            (true, _) => self.heat(share, "  "),
            (false, _) => SHADES[step(share, SHADES.len())].into(),
        }
    }

    /// One column that says how large two shares are, one above the other; nothing where there is none.
    pub(crate) fn stacked(&self, above: Option<f64>, below: Option<f64>) -> String {
        const SHADES: [&str; 5] = [" ", "░", "▒", "▓", "█"];
        if !self.color {
            return SHADES[step(above.unwrap_or(0.0).max(below.unwrap_or(0.0)), SHADES.len())].into();
        }
        let color = |share: f64| HEAT[step(share, HEAT.len())].map(|(background, _)| background);
        match (above.and_then(color), below.and_then(color)) {
            (None, None) => " ".into(),
            (Some(above), Some(below)) => self.code(&format!("38;5;{above};48;5;{below}"), "▀"),
            (Some(above), None) => self.code(&format!("38;5;{above}"), "▀"),
            (None, Some(below)) => self.code(&format!("38;5;{below}"), "▄"),
        }
    }

    /// What is said of the `shown` last ones of `n` tokens, for which a screen has room.
    pub(crate) fn only_last(&self, shown: usize, n: usize) -> Option<String> {
        (shown < n).then(|| self.dim(&format!("the last {shown} of {n} tokens; a wider screen shows more")))
    }

    /// A bar of `share`, 0 to 1, in `width` columns, padded to them: eighths of a column count.
    pub(crate) fn bar(&self, share: f64, width: usize) -> (String, String) {
        const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
        let bar = "█".repeat(eighths / 8) + PARTS[eighths % 8];
        let rest = " ".repeat(width - eighths.div_ceil(8));
        (bar, rest)
    }

    /// The same bar from right to left, after what pads it: there are characters for a half and an eighth of a column.
    pub(crate) fn bar_to_the_left(&self, share: f64, width: usize) -> (String, String) {
        const PARTS: [&str; 8] = ["", "▕", "▕", "▐", "▐", "▐", "▐", "█"];
        let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
        let rest = " ".repeat(width - eighths.div_ceil(8));
        (rest, PARTS[eighths % 8].to_owned() + &"█".repeat(eighths / 8))
    }
}

/// Nobody asked for a terminal without colours.
fn colors_wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Which of `n` steps `share`, 0 to 1, is on.
fn step(share: f64, n: usize) -> usize {
    ((share.clamp(0.0, 1.0) * n as f64) as usize).min(n - 1)
}

/// Columns of `text`, which has no colours yet.
pub(crate) fn columns(text: &str) -> usize {
    measure_text_width(text)
}

/// `text` in exactly `width` columns: padded, or cut with a mark.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let own = columns(text);
    if own <= width {
        return text.to_owned() + &" ".repeat(width - own);
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = columns(c.encode_utf8(&mut [0; 4]));
        if used + next + 1 > width {
            break;
        }
        used += next;
        out.push(c);
    }
    out.push('…');
    out + &" ".repeat(width.saturating_sub(used + 1))
}

/// The end of `text`, as much as `width` columns hold.
pub(crate) fn end_of(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        used += columns(c.encode_utf8(&mut [0; 4]));
        if used > width {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

/// `text` in at least `width` columns, to the right.
pub(crate) fn right(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(text))) + text
}

/// A share of 1 in percent, in six columns.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let text = match percent {
        _ if share <= 0.0 => "0".into(),
        _ if share >= 1.0 => format!("{percent:.0}"),
        _ if percent >= 99.95 => ">99.9".into(),
        _ if percent >= 0.95 => format!("{percent:.1}"),
        _ if percent >= 0.0095 => format!("{percent:.2}"),
        _ => "<0.01".to_string(),
    };
    right(&text, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Canvas = Canvas { color: false, width: 80 };

    #[test]
    fn bars_have_eighths_and_their_width() {
        for (share, bar) in [(0.0, ""), (1.0, "████"), (0.5, "██"), (0.28, "█▏"), (7.0, "████"), (-1.0, "")]
        {
            let (got, rest) = PLAIN.bar(share, 4);
            assert_eq!(got, bar);
            assert_eq!(columns(&got) + rest.len(), 4);
            let (rest, got) = PLAIN.bar_to_the_left(share, 4);
            assert_eq!(columns(&got) + rest.len(), 4);
        }
    }

    #[test]
    fn texts_fit_their_columns() {
        for (text, width, fits) in [("ab", 4, "ab  "), ("abcdef", 4, "abc…"), ("日本語", 4, "日… "), ("", 2, "  ")]
        {
            assert_eq!(fit(text, width), fits);
            assert_eq!(columns(&fit(text, width)), width);
        }
        assert_eq!(right("é", 3), "  é");
        assert_eq!([end_of("日本語", 5), end_of("abc", 3), end_of("abc", 0)], ["本語", "abc", ""]);
    }

    #[test]
    fn shares_are_told_with_the_digits_that_count() {
        for (share, text) in [
            (1.0, "   100"),
            (0.9999, " >99.9"),
            (0.5, "  50.0"),
            (0.0123, "   1.2"),
            (0.001, "  0.10"),
            (1e-9, " <0.01"),
            (0.0, "     0"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    /// The relative luminance (WCAG 2) of one of the 256 colours.
    fn luminance(color: u8) -> f64 {
        let levels: [u8; 6] = [0, 95, 135, 175, 215, 255];
        let rgb = match color {
            16..=231 => [36, 6, 1].map(|n| levels[usize::from((color - 16) / n % 6)]),
            _ => [8 + 10 * (color - 232); 3],
        };
        let linear = rgb.map(|level| (f64::from(level) / 255.0).powf(2.2));
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    fn contrast(a: f64, b: f64) -> f64 {
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn heat_reads_on_black_and_on_white() {
        for (background, letters) in HEAT.into_iter().flatten() {
            let [background, letters] = [background, letters].map(luminance);
            assert!(contrast(background, letters) >= 4.5, "letters on {background}");
            assert!(contrast(background, 0.0) >= 1.9 && contrast(background, 1.0) >= 1.9, "{background}");
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let color = Canvas { color: true, ..PLAIN };
        for text in [color.bold("x"), color.heat(0.5, "x"), color.piece(7, "x"), color.chosen("x")] {
            assert_eq!(columns(&text), 1);
        }
        assert_eq!(columns(&color.cell(0.3)), 2);
        assert_eq!(PLAIN.heat(0.5, "x"), "x");
        assert_eq!(PLAIN.cell(0.5), "▒▒");
    }
}
