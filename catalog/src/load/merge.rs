//! The files of a project as one tree.
//!
//! Owns: putting sections together; a name that two files define is a finding with both places. Never: checks a value.

use std::collections::HashMap;

use super::node::{Entry, Findings, Kind, Node};
use super::yaml::twice;
use crate::diagnostic::{Code, Diagnostic};

/// The sections of every file, in the order of files and places.
pub(super) fn merge(files: Vec<Node>, findings: &mut Findings) -> Vec<Entry> {
    let mut sections: Vec<Entry> = Vec::new();
    for file in files {
        let Kind::Mapping(entries) = file.kind else {
            let finding = Diagnostic::error(
                Code::PRJ004,
                format!("a file of a project is a map, this is {}", file.describe()),
            );
            findings.add(finding.at(file.place).help("begin with a section: `policies:`"));
            findings.incomplete = true;
            continue;
        };
        for entry in entries {
            match sections.iter_mut().find(|section| section.key.text == entry.key.text) {
                None => sections.push(entry),
                Some(section) => join(section, entry, findings),
            }
        }
    }
    for section in &sections {
        report_twice(section, findings);
    }
    sections
}

fn join(section: &mut Entry, more: Entry, findings: &mut Findings) {
    match (&mut section.value.kind, more.value.kind) {
        (Kind::Mapping(entries), Kind::Mapping(new)) => entries.extend(new),
        _ => {
            findings.clear(&more.key.place);
            findings.add(twice(&more.key.text, &more.key.place, &section.key.place));
        }
    }
}

fn report_twice(section: &Entry, findings: &mut Findings) {
    let Kind::Mapping(entries) = &section.value.kind else {
        return;
    };
    let mut first = HashMap::new();
    for Entry { key, .. } in entries {
        if let Some(place) = first.insert(key.text.as_str(), &key.place) {
            findings.add(twice(&key.text, &key.place, place));
        }
    }
}
