//! JSON that can be printed to a terminal or a CI log without harm, and loses nothing.
//!
//! JSON lets every character be written as `\uXXXX`. What [`text`](super::text) spells out for
//! people is written so here; whoever parses the JSON gets the text as it stood in the file.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::text::pieces;

/// Writes `value`, indented, with a line break at the end.
pub(crate) fn write(value: &impl Serialize, out: &mut impl io::Write) -> io::Result<()> {
    let formatter = SafeFormatter(PrettyFormatter::new());
    let mut serializer = Serializer::with_formatter(&mut *out, formatter);
    value.serialize(&mut serializer)?;
    writeln!(out)
}

/// serde_json's indented form with hidden characters escaped.
struct SafeFormatter(PrettyFormatter<'static>);

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain_from = 0;
        for piece in pieces(fragment).filter(|piece| piece.hidden) {
            writer.write_all(&fragment.as_bytes()[plain_from..piece.at])?;
            for unit in piece.char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain_from = piece.at + piece.char.len_utf8();
        }
        CompactFormatter.write_string_fragment(writer, &fragment[plain_from..])
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_what_cannot_be_seen_and_loses_nothing() {
        let text = "a\u{1b}[1m\u{7f}\u{9b}\u{202e}\u{e0061}é日\"\\##vso[x]\n";
        let mut out = Vec::new();
        super::write(&[text], &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            concat!("[\n  \"a\\u001b[1m\\u007f\\u009b\\u202e\\udb40\\udc61é日", "\\\"\\\\\\u0023#vso[x]\\n\"\n]\n")
        );
        assert_eq!(serde_json::from_str::<[String; 1]>(&out).unwrap(), [text]);
    }
}
