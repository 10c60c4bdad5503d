//! One file's text as a tree of nodes.
//!
//! Owns: YAML's grammar by way of its event parser, and the bounds on it. Never: expands an alias or a tag: a project
//! has neither, so no file can grow in memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span};

use super::node::{Entry, Findings, Key, Kind, Node};
use crate::diagnostic::{Code, Diagnostic, Place, SourceText};

/// How deep a file may nest.
const DEPTH_MAX: usize = 64;
/// The most values a file may hold.
const NODES_MAX: usize = 200_000;

/// The tree of a file, or `None` with at least one finding.
pub(super) fn parse(source: &Arc<SourceText>, findings: &mut Findings) -> Option<Node> {
    let mut options = Options::default();
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    options.emit_unresolved_aliases = true;
    options.disallow_directives = true;
    options.set_emit_comments(false);
    let mut builder = Builder {
        source,
        findings,
        stack: Vec::new(),
        root: None,
        ranges: Vec::new(),
        again: Vec::new(),
        failed: false,
    };
    for event in Parser::new_from_str_with_options(&source.text, options) {
        let going = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(0);
                builder.broken(error.kind(), at);
                false
            }
        };
        if !going {
            return None;
        }
    }
    let Builder {
        root,
        ranges,
        again,
        failed,
        ..
    } = builder;
    let Some(root) = root else {
        let place = Place::new(Arc::clone(source), 0..0);
        let finding = Diagnostic::error(Code::PRJ002, format!("`{}` is empty", source.name));
        findings.add(
            finding
                .at(place)
                .label("nothing is written here")
                .help("write something in the file, or delete it"),
        );
        return None;
    };
    findings.understood(source, ranges);
    again.iter().for_each(|place| findings.clear(place));
    (!failed).then_some(root)
}

/// A collection that is still open.
enum Frame {
    Sequence {
        start: usize,
        items: Vec<Node>,
    },
    Mapping {
        start: usize,
        entries: Vec<Entry>,
        key: Option<Option<Key>>,
        seen: HashMap<String, Place>,
    },
}

struct Builder<'a> {
    source: &'a Arc<SourceText>,
    findings: &'a mut Findings,
    stack: Vec<Frame>,
    root: Option<Node>,
    /// Of every scalar.
    ranges: Vec<Range<usize>>,
    /// Of keys that were there already.
    again: Vec<Place>,
    failed: bool,
}

impl Builder<'_> {
    /// Takes one event; false ends the reading, with a finding.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let range = span.byte_range().unwrap_or(0..0);
        let tagged = match &event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, _, tag) | Event::MappingStart(_, _, tag) => {
                tag.is_some()
            }
            _ => false,
        };
        if tagged {
            self.refuse(
                Code::PRJ004,
                &range,
                "a tag (`!…`) is not part of the project format",
                "write the value without it",
            );
            return false;
        }
        if self.stack.len() > DEPTH_MAX {
            self.broken(&ErrorKind::RecursionLimitExceeded, range.start);
            return false;
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain,
                };
                self.node(Node {
                    place: self.place(content(&self.source.text, range, style)),
                    kind,
                })
            }
            Event::SequenceStart(..) => {
                self.stack.push(Frame::Sequence {
                    start: range.start,
                    items: Vec::new(),
                });
                true
            }
            Event::MappingStart(..) => {
                self.stack.push(Frame::Mapping {
                    start: range.start,
                    entries: Vec::new(),
                    key: None,
                    seen: HashMap::new(),
                });
                true
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let message = "an alias (`*name`) is not part of the project format: it could make a small file huge";
                self.refuse(Code::PRJ009, &range, message, "write the value out where it is meant");
                false
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                self.refuse(
                    Code::PRJ002,
                    &range,
                    "a second document in one file",
                    "put it in a file of its own",
                );
                false
            }
            _ => true,
        }
    }

    fn place(&self, range: Range<usize>) -> Place {
        Place::new(Arc::clone(self.source), range)
    }

    fn close(&mut self, end: usize) -> bool {
        let node = match self.stack.pop() {
            Some(Frame::Sequence { start, items }) => Node {
                place: self.place(start..end),
                kind: Kind::Sequence(items),
            },
            Some(Frame::Mapping { start, entries, .. }) => Node {
                place: self.place(start..end),
                kind: Kind::Mapping(entries),
            },
            None => return true,
        };
        self.node(node)
    }

    /// Puts a finished node where it belongs: in a sequence, as a key, as a value, or as the root.
    fn node(&mut self, node: Node) -> bool {
        if self.ranges.len() >= NODES_MAX {
            let message = format!("more than {NODES_MAX} values in one file");
            self.refuse(Code::PRJ009, &node.place.range, &message, "split the file");
            return false;
        }
        let scalar = match &node.kind {
            Kind::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        };
        match self.stack.last_mut() {
            Some(Frame::Mapping {
                key: key @ None, seen, ..
            }) => {
                let Some(text) = scalar else {
                    *key = Some(None);
                    self.failed = true;
                    let finding = Diagnostic::error(Code::PRJ004, "a key must be text").at(node.place);
                    self.findings.add(finding.help("write `key: value`"));
                    return true;
                };
                self.ranges.push(node.place.range.clone());
                if let Some(first) = seen.get(&text) {
                    self.findings.add(twice(&text, &node.place, first));
                    self.again.push(node.place);
                    *key = Some(None);
                } else {
                    seen.insert(text.clone(), node.place.clone());
                    *key = Some(Some(Key {
                        text,
                        place: node.place,
                    }));
                }
                return true;
            }
            Some(Frame::Mapping { entries, key, .. }) => {
                if scalar.is_some() {
                    self.ranges.push(node.place.range.clone());
                }
                if let Some(Some(key)) = key.take() {
                    entries.push(Entry { key, value: node });
                }
            }
            Some(Frame::Sequence { items, .. }) => {
                if scalar.is_some() {
                    self.ranges.push(node.place.range.clone());
                }
                items.push(node);
            }
            None => {
                // A file of nothing but comments, or of `---`, is as empty as one of no bytes.
                if !node.is_null() {
                    if scalar.is_some() {
                        self.ranges.push(node.place.range.clone());
                    }
                    self.root = Some(node);
                }
            }
        }
        true
    }

    fn refuse(&mut self, code: Code, range: &Range<usize>, message: &str, help: &str) {
        self.findings.add(
            Diagnostic::error(code, message)
                .at(self.place(range.clone()))
                .help(help),
        );
    }

    fn broken(&mut self, kind: &ErrorKind, at: usize) {
        // The parser stands behind a tab when it minds it.
        let tab = at > 0 && self.source.text.as_bytes().get(at - 1) == Some(&b'\t');
        let at = if tab { at - 1 } else { at };
        let place = self.place(at..at + 1);
        let finding = match kind {
            ErrorKind::RecursionLimitExceeded => {
                Diagnostic::error(Code::PRJ009, format!("nested deeper than {DEPTH_MAX}"))
                    .at(place)
                    .help("write it flatter")
            }
            ErrorKind::DirectiveDisallowed => {
                Diagnostic::error(Code::PRJ002, "a directive (`%…`) is not part of the project format")
                    .at(place)
                    .help("delete the line")
            }
            ErrorKind::TabInIndentation
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabNotAllowed
            | ErrorKind::TabInPlainScalar => {
                Diagnostic::error(Code::PRJ002, "not YAML: a tab where only spaces may stand")
                    .at(place)
                    .help("indent with spaces")
            }
            kind => Diagnostic::error(Code::PRJ002, format!("not YAML: {kind}"))
                .at(place)
                .help("look at the indentation, quotes and brackets here and on the lines above"),
        };
        self.findings.add(finding);
    }
}

/// The finding for a name that stands twice.
pub(super) fn twice(name: &str, second: &Place, first: &Place) -> Diagnostic {
    Diagnostic::error(Code::PRJ006, format!("`{name}` is defined twice"))
        .at(second.clone())
        .label("defined again here")
        .related(first.clone(), "first defined here")
        .help("keep one of the two, or give one another name")
}

/// The range of a scalar's content: without its quotes; of a block, without its header.
fn content(text: &str, range: Range<usize>, style: ScalarStyle) -> Range<usize> {
    let Some(raw) = text.get(range.clone()) else {
        return range;
    };
    match style {
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if raw.len() >= 2 => range.start + 1..range.end - 1,
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let header = if raw.starts_with(['|', '>']) {
                raw.find('\n').map_or(0, |at| at + 1)
            } else {
                0
            };
            let body = &raw[header..];
            let indent = body.len() - body.trim_start().len();
            let start = range.start + header + indent;
            start..(range.start + raw.trim_end().len()).max(start)
        }
        _ => range,
    }
}
