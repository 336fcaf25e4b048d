//! Reads the tables of cases in `tests/data`.

/// A line of a table: the text, and the other columns.
pub(crate) struct Case {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// The JSON strings that the line begins with.
    pub(crate) texts: Vec<String>,
    /// The columns behind them.
    pub(crate) columns: Vec<String>,
}

/// Reads a table. Columns are apart by two spaces or more; those in double quotes are JSON strings.
pub(crate) fn table(source: &str) -> Vec<Case> {
    source
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(n, line)| {
            let mut texts = Vec::new();
            let mut rest = line;
            while rest.starts_with('"') {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let text = stream.next().unwrap().unwrap_or_else(|e| panic!("line {}: {e}", n + 1));
                rest = rest[stream.byte_offset()..].trim_start();
                texts.push(expanded(&text));
            }
            let columns = rest.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(expanded).collect();
            Case { line: n + 1, texts, columns }
        })
        .collect()
}

/// Puts long texts in place of their abbreviations.
fn expanded(text: &str) -> String {
    let hex = "0123456789abcdef";
    let mut out =
        text.replace("{sha}", &hex.repeat(4)).replace("{96}", &hex.repeat(6)).replace("{128}", &hex.repeat(8));
    let mut from = 0;
    while let Some(open) = out[from..].find('{').map(|at| from + at) {
        let repeated = out[open..].find('}').and_then(|close| {
            let (what, times) = out[open + 1..open + close].split_once('*')?;
            let times: usize = times.parse().ok()?;
            (what.len() == 1).then(|| (open + close + 1, what.repeat(times)))
        });
        from = open + 1;
        if let Some((end, text)) = repeated {
            out.replace_range(open..end, &text);
        }
    }
    out
}
