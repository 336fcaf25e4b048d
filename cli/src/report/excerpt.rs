//! The lines of a file that a finding is about, cut and cleaned for showing.
//!
//! Cleaning changes lengths, so the marked range is carried along while the excerpt is built.

use std::ops::Range;

use super::model::Span;
use super::text::pieces;

/// Characters of one line that are shown.
const WIDTH: usize = 120;
/// A span over more lines than this is marked on its first line only.
const TALL: usize = 12;

/// A few whole lines, or windows on long ones, with one range marked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// Lines divided by LF; nothing hidden is in it except tabs, which the renderer expands.
    pub(super) text: String,
    /// Number of the first line in its file.
    pub(super) first_line: usize,
    /// The marked bytes of `text`.
    pub(super) marked: Range<usize>,
}

/// Cuts the lines of `span` out of `source`; `None` where the span does not fit the text, which has
/// then changed since it was checked.
pub(super) fn cut(source: &str, span: &Span) -> Option<Excerpt> {
    let covered = source.get(span.start..span.end)?;
    let covered = covered.trim_end_matches(['\n', '\r']);
    let covered = match covered.match_indices('\n').nth(TALL - 1) {
        Some(_) => covered.lines().next().unwrap_or_default(),
        None => covered,
    };
    let marked = span.start..span.start + covered.len();
    let from = source[..marked.start].rfind('\n').map_or(0, |at| at + 1);
    let to = source[marked.end..].find('\n').map_or(source.len(), |at| marked.end + at);

    let mut excerpt = Excerpt { text: String::new(), first_line: span.line, marked: 0..0 };
    let mut at = from;
    for line in source[from..to].split('\n') {
        if at > from {
            excerpt.text.push('\n');
        }
        excerpt.push_line(line, at, &marked);
        at += line.len() + 1;
    }
    Some(excerpt)
}

impl Excerpt {
    /// Appends one line, which starts at byte `at` of its file; `marked` counts in the file too.
    fn push_line(&mut self, line: &str, at: usize, marked: &Range<usize>) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line_end = at + line.len();
        let first = (at..=line_end).contains(&marked.start);
        let focus = if first {
            marked.start - at
        } else if (at..=line_end).contains(&marked.end) {
            marked.end - at
        } else {
            0
        };
        let window = window(line, focus);

        if window.start > 0 {
            self.text.push('…');
        }
        if first {
            self.marked.start = self.text.len();
        }
        for piece in pieces(&line[window.clone()]) {
            let offset = at + window.start + piece.at;
            self.carry(offset, marked);
            match piece.char {
                '\t' => self.text.push('\t'),
                '\u{feff}' if offset == 0 => {}
                _ => piece.push_to(&mut self.text),
            }
        }
        self.carry(at + window.end, marked);
        if window.end < line.len() {
            self.text.push('…');
        }
    }

    /// Moves the marked range's ends here while the file's `offset` has not passed them.
    fn carry(&mut self, offset: usize, marked: &Range<usize>) {
        if offset <= marked.start {
            self.marked.start = self.text.len();
        }
        if offset <= marked.end {
            self.marked.end = self.text.len();
        }
    }
}

/// The bytes of `line` to show: all, or [`WIDTH`] characters around the byte `focus`.
fn window(line: &str, focus: usize) -> Range<usize> {
    let count = line.chars().count();
    if count <= WIDTH {
        return 0..line.len();
    }
    let focus = line[..line.floor_char_boundary(focus)].chars().count();
    let from = focus.saturating_sub(WIDTH / 4).min(count - WIDTH);
    let byte = |char: usize| line.char_indices().nth(char).map_or(line.len(), |(at, _)| at);
    byte(from)..byte(from + WIDTH)
}

#[cfg(test)]
mod tests {
    use super::super::model::LineIndex;
    use super::*;

    /// The excerpt of `needle` in `source`, and what is marked in it.
    fn marked(source: &str, needle: &str) -> (Excerpt, String) {
        let at = source.find(needle).unwrap();
        let span = LineIndex::new(source).span(at..at + needle.len());
        let excerpt = cut(source, &span).unwrap();
        let text = excerpt.text[excerpt.marked.clone()].to_owned();
        (excerpt, text)
    }

    #[test]
    fn shows_the_whole_line_and_marks_the_span() {
        let (excerpt, text) = marked("a: 1\nurl: ünï/cödé\nb: 2\n", "ünï/cödé");
        assert_eq!(excerpt.text, "url: ünï/cödé");
        assert_eq!(excerpt.first_line, 2);
        assert_eq!(text, "ünï/cödé");
    }

    #[test]
    fn drops_carriage_returns_and_the_byte_order_mark() {
        let (excerpt, text) = marked("\u{feff}a: one\r\nb: 2\r\n", "one");
        assert_eq!(excerpt.text, "a: one");
        assert_eq!(text, "one");
    }

    #[test]
    fn marks_exactly_the_value_behind_spelt_out_characters() {
        let (excerpt, text) = marked("k: \u{1b}[2J\u{202e} x\u{200b}y z", "x\u{200b}y");
        assert_eq!(excerpt.text, "k: \\u{1b}[2J\\u{202e} x\\u{200b}y z");
        assert_eq!(text, "x\\u{200b}y");
    }

    #[test]
    fn a_span_that_ends_with_a_newline_stays_on_its_line() {
        let (excerpt, text) = marked("a: 1\r\nb: 2\r\n", "a: 1\r\n");
        assert_eq!((excerpt.text.as_str(), text.as_str()), ("a: 1", "a: 1"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_span() {
        let source = format!("{}needle{}", "x".repeat(5000), "y".repeat(5000));
        let (excerpt, text) = marked(&source, "needle");
        assert_eq!(text, "needle");
        assert_eq!(excerpt.text.chars().count(), WIDTH + 2);
        assert!(excerpt.text.starts_with('…') && excerpt.text.ends_with('…'));
    }

    #[test]
    fn a_span_longer_than_the_window_is_marked_as_far_as_it_is_shown() {
        let value = "v".repeat(5000);
        let (_, text) = marked(&format!("k: {value}\n"), &value);
        assert_eq!(text, "v".repeat(WIDTH - 3));
    }

    #[test]
    fn a_tall_span_is_marked_on_its_first_line() {
        let tall = "line\n".repeat(TALL + 1);
        let (excerpt, text) = marked(&format!("k: {tall}"), &tall);
        assert_eq!((excerpt.text.as_str(), text.as_str()), ("k: line", "line"));
        let short = "line\n".repeat(TALL);
        assert_eq!(marked(&short, &short).1, short.trim_end());
    }

    #[test]
    fn a_span_that_no_longer_fits_gives_no_excerpt() {
        let span = LineIndex::new("0123456789").span(5..9);
        assert_eq!(cut("012", &span), None);
        let span = LineIndex::new("0123").span(1..2);
        assert_eq!(cut("é", &span), None);
    }

    proptest::proptest! {
        #[test]
        fn any_range_of_any_text_gives_one_that_can_be_drawn(
            text in "[a#\\[\t\r\né\u{202e}\u{feff}日]{0,300}", a in 0_usize..400, b in 0_usize..400
        ) {
            let span = LineIndex::new(&text).span(a.min(b)..a.max(b));
            let excerpt = cut(&text, &span).unwrap();
            assert!(excerpt.text.get(excerpt.marked.clone()).is_some(), "{excerpt:?}");
        }
    }
}
