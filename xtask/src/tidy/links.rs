//! Links between our pages lead somewhere.
//!
//! Owns: relative links of `.md` files. Never: the web.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::workspace::Workspace;

/// Checks every `](target)` of every page.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in workspace.files.iter().filter(|file| file.extension() == "md") {
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for (index, line) in file.text.lines().enumerate() {
            for target in targets(line) {
                if !workspace.root.join(folder).join(target).exists() {
                    findings.push(Finding::line(&file.path, index + 1, format!("`{target}` is not there")));
                }
            }
        }
    }
    Ok(findings)
}

/// The relative targets of a line's links, without their anchors.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn only_relative_links_are_ours() {
        let line = "[a](docs/a.md#b), [c](https://example.com), [d](#here), [e](../e.md)";
        assert_eq!(targets(line).collect::<Vec<_>>(), ["docs/a.md", "../e.md"]);
    }
}
