//! The Markdown pages, parsed as far as the tests need them: headings, links, code and tables.

use std::fs;
use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// One page.
pub(crate) struct Page {
    /// Its path from the repository's root.
    pub(crate) path: String,
    /// The headings, in their order.
    pub(crate) headings: Vec<String>,
    /// The destinations of links and images.
    pub(crate) links: Vec<String>,
    /// The fenced code blocks.
    pub(crate) blocks: Vec<Block>,
    /// The rows of all tables, without their heads.
    pub(crate) rows: Vec<Row>,
    /// The inline code.
    pub(crate) spans: Vec<Span>,
    /// How many words it has, code and link texts included.
    pub(crate) words: usize,
}

/// A fenced code block.
pub(crate) struct Block {
    /// The text behind the fence.
    pub(crate) language: String,
    /// The code.
    pub(crate) text: String,
    /// The line of the fence.
    pub(crate) line: usize,
}

/// Inline code.
pub(crate) struct Span {
    /// The code.
    pub(crate) text: String,
    /// Its line.
    pub(crate) line: usize,
}

/// A row of a table.
pub(crate) struct Row {
    /// The headings that it stands below, outermost first.
    pub(crate) below: Vec<String>,
    /// The table's head.
    pub(crate) head: Vec<String>,
    /// The cells.
    pub(crate) cells: Vec<Cell>,
    /// Its line.
    pub(crate) line: usize,
}

/// A cell of a table.
#[derive(Clone, Default)]
pub(crate) struct Cell {
    /// All of its text.
    pub(crate) text: String,
    /// The inline code in it.
    pub(crate) code: Vec<String>,
}

/// The README and every page below `docs/`.
pub(crate) fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec!["README.md".to_owned()];
    collect(root, "docs", &mut paths);
    assert!(paths.len() > 20, "the book was not found: {paths:?}");
    paths.sort();
    paths
        .iter()
        .map(|path| Page::parse(path, &fs::read_to_string(root.join(path)).unwrap()))
        .collect()
}

fn collect(root: &Path, folder: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, paths);
        } else if path.ends_with(".md") {
            paths.push(path);
        }
    }
}

/// The page with this path.
pub(crate) fn page<'p>(pages: &'p [Page], path: &str) -> &'p Page {
    pages
        .iter()
        .find(|page| page.path == path)
        .unwrap_or_else(|| panic!("there is no page {path}"))
}

impl Page {
    /// Parses a page.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            headings: Vec::new(),
            links: Vec::new(),
            blocks: Vec::new(),
            rows: Vec::new(),
            spans: Vec::new(),
            words: 0,
        };
        let mut reader = Reader::default();
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            reader.read(event, line_of(range.start), &mut page);
        }
        page
    }

    /// The fragments that links can name, as the site's generator and forges make them of headings.
    pub(crate) fn anchors(&self) -> Vec<String> {
        self.headings
            .iter()
            .map(|heading| anchor(heading))
            .collect()
    }
}

/// The elements that are open.
#[derive(Default)]
struct Reader {
    below: Vec<(usize, String)>,
    heading: Option<(usize, String)>,
    block: Option<Block>,
    head: Vec<String>,
    cells: Vec<Cell>,
    cell: Option<Cell>,
    row_line: usize,
}

impl Reader {
    fn read(&mut self, event: Event<'_>, line: usize, page: &mut Page) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                self.heading = Some((level as usize, String::new()))
            }
            Event::End(TagEnd::Heading(_)) => {
                let (level, text) = self.heading.take().unwrap();
                self.below.retain(|(above, _)| *above < level);
                self.below.push((level, text.clone()));
                page.headings.push(text);
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.to_string(),
                    CodeBlockKind::Indented => {
                        panic!("{}:{line}: indented code; use a fence", page.path)
                    }
                };
                self.block = Some(Block {
                    language,
                    text: String::new(),
                    line,
                });
            }
            Event::End(TagEnd::CodeBlock) => page.blocks.push(self.block.take().unwrap()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.to_string());
            }
            Event::Start(Tag::TableRow | Tag::TableHead) => self.row_line = line,
            Event::Start(Tag::TableCell) => self.cell = Some(Cell::default()),
            Event::End(TagEnd::TableCell) => self.cells.push(self.cell.take().unwrap()),
            Event::End(TagEnd::TableHead) => {
                self.head = std::mem::take(&mut self.cells)
                    .into_iter()
                    .map(|cell| cell.text)
                    .collect();
            }
            Event::End(TagEnd::TableRow) => page.rows.push(Row {
                below: self
                    .below
                    .iter()
                    .map(|(_, heading)| heading.clone())
                    .collect(),
                head: self.head.clone(),
                cells: std::mem::take(&mut self.cells),
                line: self.row_line,
            }),
            Event::Text(text) => self.text(&text, page),
            Event::Code(text) => {
                self.text(&text, page);
                page.spans.push(Span {
                    text: text.to_string(),
                    line,
                });
                if let Some(cell) = &mut self.cell {
                    cell.code.push(text.to_string());
                }
            }
            Event::SoftBreak | Event::HardBreak => self.text(" ", page),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, page: &mut Page) {
        page.words += text
            .split_whitespace()
            .filter(|word| word.contains(char::is_alphanumeric))
            .count();
        if let Some(block) = &mut self.block {
            block.text.push_str(text);
        }
        if let Some((_, heading)) = &mut self.heading {
            heading.push_str(text);
        }
        if let Some(cell) = &mut self.cell {
            cell.text.push_str(text);
        }
    }
}

/// The fragment of a heading: lower case, without punctuation, with hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let lower = kept.collect::<String>().to_ascii_lowercase();
    lower.split_whitespace().collect::<Vec<_>>().join("-")
}

#[test]
fn markdown_is_parsed_into_headings_links_code_and_tables() {
    let text = "# A page\n\n## `[a.b]`: keys, of `x`\n\n[l](other.md#here) ![i](p.svg)\n\n| Key | Meaning |\n| --- | --- |\n\
                | `k` | `v` or *w* |\n\n```toml\na = 1\n```\n";
    let page = Page::parse("p.md", text);
    assert_eq!(page.headings, ["A page", "[a.b]: keys, of x"]);
    assert_eq!(page.anchors(), ["a-page", "ab-keys-of-x"]);
    assert_eq!(page.links, ["other.md#here", "p.svg"]);
    let [row] = page.rows.as_slice() else {
        panic!("one row")
    };
    assert_eq!(
        (row.head.join("|"), row.line),
        ("Key|Meaning".to_owned(), 9)
    );
    assert_eq!(row.below, ["A page", "[a.b]: keys, of x"]);
    assert_eq!(
        (row.cells[0].code.join("|"), row.cells[1].text.as_str()),
        ("k".to_owned(), "v or w")
    );
    let [block] = page.blocks.as_slice() else {
        panic!("one block")
    };
    assert_eq!(
        (block.language.as_str(), block.text.as_str(), block.line),
        ("toml", "a = 1\n", 11)
    );
    assert_eq!(
        page.spans
            .iter()
            .map(|span| (span.text.as_str(), span.line))
            .collect::<Vec<_>>(),
        [("[a.b]", 3), ("x", 3), ("k", 9), ("v", 9)]
    );
}
