//! The SQL of the documentation: every ```` ```sql ```` block of a page runs, in order, in one session,
//! and must print what the ```` ```output ```` block after it shows.

/// A ```` ```sql ```` block with what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub sql: String,
    /// The fence was ```` ```sql,error ````: the block has to fail.
    pub fails: bool,
    /// The line of the fence, counted from 1.
    pub line: usize,
    /// The lines of the output block, if there is one, as a range of line numbers counted from 0.
    pub output: Option<std::ops::Range<usize>>,
}

/// The line range for output is empty if the block is.
pub fn blocks(page: &str) -> Vec<Block> {
    let lines: Vec<&str> = page.lines().collect();
    let mut blocks: Vec<Block> = Vec::new();
    let mut position = 0;
    while position < lines.len() {
        let Some(language) = lines[position].trim_end().strip_prefix("```") else {
            position += 1;
            continue;
        };
        let start = position + 1;
        let length = lines[start..]
            .iter()
            .position(|line| line.trim_end() == "```")
            .unwrap_or(lines.len() - start);
        let end = start + length;
        match language {
            "sql" | "sql,error" => blocks.push(Block {
                sql: lines[start..end].join("\n"),
                fails: language == "sql,error",
                line: position + 1,
                output: None,
            }),
            // An output belongs to the block before it, and only once.
            "output" => {
                if let Some(block) = blocks.last_mut() {
                    if block.output.is_none() {
                        block.output = Some(start..end);
                    }
                }
            }
            _ => {}
        }
        position = end + 1;
    }
    blocks
}

/// Whether output is what the page shows. White space at line ends and empty lines around do not
/// count. `…` within an expected line stands for any text, on a line of its own for any lines.
pub fn matches(expected: &str, actual: &str) -> bool {
    let expected: Vec<&str> = normal_lines(expected);
    let actual: Vec<&str> = normal_lines(actual);
    lines_match(&expected, &actual)
}

fn normal_lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let first = lines
        .iter()
        .position(|line| !line.is_empty())
        .unwrap_or(lines.len());
    let last = lines
        .iter()
        .rposition(|line| !line.is_empty())
        .map_or(first, |last| last + 1);
    lines[first..last].to_vec()
}

fn lines_match(expected: &[&str], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((head, rest)) if head.trim() == "…" => {
            (0..=actual.len()).any(|skipped| lines_match(rest, &actual[skipped..]))
        }
        Some((head, rest)) => actual
            .split_first()
            .is_some_and(|(line, others)| line_matches(head, line) && lines_match(rest, others)),
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut left) = parts.next().and_then(|first| actual.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.is_empty()
}

/// The page with the output of the blocks replaced where `outputs` (one entry a block) has a new text.
pub fn with_outputs(page: &str, blocks: &[Block], outputs: &[Option<String>]) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let mut result: Vec<String> = Vec::new();
    let mut position = 0;
    for (block, output) in blocks.iter().zip(outputs) {
        if let (Some(range), Some(text)) = (&block.output, output) {
            result.extend(
                lines[position..range.start]
                    .iter()
                    .map(|line| line.to_string()),
            );
            result.extend(normal_lines(text).iter().map(|line| line.to_string()));
            position = range.end;
        }
    }
    result.extend(lines[position..].iter().map(|line| line.to_string()));
    let mut text = result.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Intro\n```sql\nSELECT 1;\n```\nshows\n```output\n a\n---\n 1\n```\n```sql,error\nSELECT x;\n```\n```text\n```\n";

    #[test]
    fn finds_blocks_and_their_outputs() {
        let blocks = blocks(PAGE);
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].sql, "SELECT 1;");
        assert_eq!(blocks[0].line, 2);
        assert_eq!(blocks[0].output, Some(6..9));
        assert!(blocks[1].fails);
        assert_eq!(blocks[1].output, None);
    }

    #[test]
    fn an_unclosed_fence_ends_with_the_page() {
        assert_eq!(blocks("```sql\nSELECT 1;")[0].sql, "SELECT 1;");
        assert_eq!(blocks("```sql")[0].sql, "");
    }

    #[test]
    fn white_space_at_the_ends_does_not_count() {
        assert!(matches("\n a | b  \n", " a | b\n\n"));
        assert!(!matches(" a | b", "a | b"));
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert!(matches(" id | … | x", " id | 17 | x"));
        assert!(matches("first\n…\nlast", "first\nlast"));
        assert!(matches("first\n…\nlast", "first\n1\n2\nlast"));
        assert!(!matches("first\n…\nlast", "first\n1\n2"));
        assert!(!matches("a…b…c", "a1c2b"));
        assert!(matches("a…b…c", "a1b2c"));
        assert!(!matches("ab…", "a"));
    }

    #[test]
    fn outputs_are_replaced_in_place() {
        let found = blocks(PAGE);
        let updated = with_outputs(PAGE, &found, &[Some(" b\n---\n 2\n\n".to_string()), None]);
        assert_eq!(updated, PAGE.replace(" a\n---\n 1\n", " b\n---\n 2\n"));
        assert_eq!(with_outputs(PAGE, &found, &[None, None]), PAGE);
    }
}
