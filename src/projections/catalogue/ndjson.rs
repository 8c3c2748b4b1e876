//! NDJSON: one product per line. Empty lines are skipped, a line ending of `\r\n` is one too.

use super::document::ProductLine;
use super::{CatalogueProduct, Parsed, ROW_BYTES_MAX, RowError};

/// See the module.
pub struct NdJsonParser {
    /// The line read so far; empty while an overlong line is skipped.
    line: Vec<u8>,
    number: u64,
    is_overlong: bool,
}

impl NdJsonParser {
    pub fn new() -> Self {
        Self { line: Vec::new(), number: 1, is_overlong: false }
    }

    pub fn push(&mut self, bytes: &[u8], parsed: &mut Vec<Parsed>) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        self.extend(pieces.next().unwrap_or_default());
        for piece in pieces {
            self.end_line(parsed);
            self.extend(piece);
        }
    }

    pub fn finish(&mut self, parsed: &mut Vec<Parsed>) {
        self.end_line(parsed);
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.is_overlong || self.line.len() + piece.len() > ROW_BYTES_MAX {
            self.is_overlong = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self, parsed: &mut Vec<Parsed>) {
        if self.is_overlong {
            parsed.push(Err(RowError::new(self.number, "", format!("longer than {ROW_BYTES_MAX} bytes"))));
        } else if !self.line.trim_ascii().is_empty() {
            parsed.push(parse(self.number, &self.line));
        }
        self.line.clear();
        self.is_overlong = false;
        self.number += 1;
    }
}

fn parse(number: u64, line: &[u8]) -> Parsed {
    let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let line: ProductLine = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        RowError::new(number, if field == "." { String::new() } else { field }, error.inner())
    })?;
    reader.end().map_err(|error| RowError::new(number, "", error))?;
    let (id, document) = line.document().map_err(|(field, reason)| RowError::new(number, field, reason))?;
    Ok(CatalogueProduct { line: number, id, document })
}
