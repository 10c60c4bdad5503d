//! The error shape: a first line complete alone, then place, line, caret and help.
//!
//! Owns: layout in columns of a terminal. Never: colour, or the choice of what may be shown (`redact`).

use unicode_width::UnicodeWidthChar;

use super::{Diagnostic, Place, Severity};

/// The widest part of a line that is shown, in columns.
const WINDOW: usize = 160;

/// Renders one diagnostic as people read it, without colour, ending in a line feed.
///
/// Columns are those of a terminal: a wide character counts two. Secrets of project files are covered, control
/// characters replaced.
pub fn render(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut out = format!(
        "{severity}[{}]: {}\n",
        diagnostic.code.as_str(),
        one_line(&diagnostic.message)
    );
    let places = diagnostic
        .place
        .iter()
        .chain(diagnostic.related.iter().map(|(place, _)| place));
    let gutter = places
        .map(|place| place.line_column().0.to_string().len())
        .max()
        .unwrap_or(1);
    if let Some(place) = &diagnostic.place {
        snippet(&mut out, place, diagnostic.label.as_deref(), gutter, "-->", '^');
    }
    for (place, remark) in &diagnostic.related {
        snippet(&mut out, place, Some(remark), gutter, ":::", '-');
    }
    if diagnostic.place.is_none()
        && let Some(label) = &diagnostic.label
    {
        out.push_str(&format!("{:gutter$} = {}\n", "", one_line(label)));
    }
    if let Some(help) = &diagnostic.help {
        out.push_str(&format!("{:gutter$} = help: {}\n", "", one_line(help)));
    }
    out
}

fn snippet(out: &mut String, place: &Place, label: Option<&str>, gutter: usize, arrow: &str, mark: char) {
    let (line, column) = place.line_column();
    out.push_str(&format!(
        "{:gutter$} {arrow} {}:{line}:{column}\n",
        "",
        one_line(&place.source.name)
    ));
    let label = label.map(one_line).unwrap_or_default();
    if place.source.text.is_empty() {
        if !label.is_empty() {
            out.push_str(&format!("{:gutter$} = {label}\n", ""));
        }
        return;
    }
    let range = place.line_range();
    let marked = place
        .source
        .text
        .get(place.range.start..place.range.end.min(range.end))
        .unwrap_or_default()
        .chars()
        .count();
    let (shown, caret, run) = window(&place.shown_line(), column - 1, marked);
    let run: String = std::iter::repeat_n(mark, run).collect();
    out.push_str(&format!("{:gutter$} |\n", ""));
    out.push_str(format!("{line:>gutter$} | {shown}").trim_end());
    out.push_str(format!("\n{:gutter$} | {:caret$}{run} {label}", "", "").trim_end());
    out.push('\n');
}

/// The part of `line` around the mark, the mark's column in it and its width, all as a terminal shows them.
fn window(line: &str, start: usize, length: usize) -> (String, usize, usize) {
    let cells: Vec<(String, usize)> = line.chars().map(cell).collect();
    let width = |from: usize, to: usize| -> usize {
        cells
            .iter()
            .skip(from)
            .take(to.saturating_sub(from))
            .map(|(_, width)| width)
            .sum()
    };
    // A place may stand past what is shown of its line, where a comment was left out or the text has ended.
    let missing = start.saturating_sub(cells.len());
    let (mut first, mut last) = (0, cells.len());
    if width(0, last) > WINDOW {
        first = start.saturating_sub(WINDOW / 3);
        while width(first, last) > WINDOW && last > first + 1 {
            last -= 1;
        }
    }
    let cut = if first > 0 { "…" } else { "" };
    let tail = if last < cells.len() { "…" } else { "" };
    let shown: String = cells
        .iter()
        .skip(first)
        .take(last - first)
        .map(|(text, _)| text.as_str())
        .collect();
    let caret = width(first, start) + missing + cut.chars().count();
    (
        format!("{cut}{shown}{tail}"),
        caret,
        width(start, (start + length).min(last)).max(1),
    )
}

/// How a character is shown, and how many columns that takes.
fn cell(character: char) -> (String, usize) {
    if character == '\t' {
        return (" ".repeat(4), 4);
    }
    let character = printable(character);
    (character.to_string(), character.width().unwrap_or(1))
}

/// Control characters and those that turn the direction of writing could hide or forge output.
fn printable(character: char) -> char {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    if character.is_control() || turns {
        '\u{fffd}'
    } else {
        character
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { printable(c) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Code, SourceText};
    use super::*;

    fn check(diagnostic: Diagnostic, expected: &[&str]) {
        assert_eq!(render(&diagnostic), format!("{}\n", expected.join("\n")));
    }

    #[test]
    fn the_shape_of_the_design() {
        let query = SourceText::new("query", "SELECT amont FROM credit.loan");
        check(
            Diagnostic::error(Code::SQL012, "column `amont` not found in `credit.loan`")
                .at(Place::new(query, 7..12))
                .label("did you mean `amount`?")
                .help("caliber catalog show credit.loan"),
            &[
                "error[SQL012]: column `amont` not found in `credit.loan`",
                "  --> query:1:8",
                "  |",
                "1 | SELECT amont FROM credit.loan",
                "  |        ^^^^^ did you mean `amount`?",
                "  = help: caliber catalog show credit.loan",
            ],
        );
    }

    #[test]
    fn wide_characters_tabs_and_two_places() {
        let text = "zh: 地区 x\n\ta: b\n\n\n\n\n\n\n\nlast: 部门";
        let file = SourceText::new("m/a.yaml", text);
        let at = |word: &str| {
            let start = text.find(word).unwrap();
            Place::new(file.clone(), start..start + word.len())
        };
        check(
            Diagnostic::warning(Code::PRJ006, "twice")
                .at(at("部门"))
                .label("here")
                .related(at("x"), "first")
                .related(at("b"), "then"),
            &[
                "warning[PRJ006]: twice",
                "   --> m/a.yaml:10:7",
                "   |",
                "10 | last: 部门",
                "   |       ^^^^ here",
                "   ::: m/a.yaml:1:8",
                "   |",
                " 1 | zh: 地区 x",
                "   |          - first",
                "   ::: m/a.yaml:2:5",
                "   |",
                " 2 |     a: b",
                "   |        - then",
            ],
        );
    }

    #[test]
    fn nothing_to_show_and_nowhere() {
        let file = SourceText::guarded("empty.yaml", "");
        check(
            Diagnostic::error(Code::PRJ002, "`empty.yaml` is empty")
                .at(Place::new(file, 0..0))
                .label("nothing here"),
            &[
                "error[PRJ002]: `empty.yaml` is empty",
                "  --> empty.yaml:1:1",
                "  = nothing here",
            ],
        );
        check(
            Diagnostic::error(Code::INT001, "a\nb\u{1b}[31m").help("c"),
            &["error[INT001]: a b\u{fffd}[31m", "  = help: c"],
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_mark() {
        let text = format!("{}bad{}", "x ".repeat(4000), " y".repeat(4000));
        let rendered =
            render(&Diagnostic::error(Code::SQL001, "m").at(Place::new(SourceText::new("query", text), 8000..8003)));
        let lines: Vec<&str> = rendered.lines().collect();
        let column = lines[4].find('^').unwrap();
        assert!(lines[3].chars().count() < 200, "{rendered}");
        assert_eq!(lines[3].chars().skip(column).take(3).collect::<String>(), "bad");
        assert!(lines[4].ends_with("^^^"));
    }
}
