//! Words that stand where nobody of the proof may look, and the search for them.
//!
//! Owns: the words. Never: explains one away.

/// What every hidden value, policy literal, mask literal and path of the worlds begins with.
const MARK: &str = "cnry";
/// How many hidden values there are of each kind, at most: numbers past it begin again.
const EACH: i64 = 34;

fn mark(kind: &str, number: i64) -> String {
    format!("{MARK}{kind}{:02}", number.rem_euclid(EACH))
}

/// A word of a hidden row. No number, so that a cast of it fails.
pub fn word(id: i64) -> String {
    mark("word", id)
}

/// The region of a hidden row.
pub fn region(id: i64) -> String {
    mark("area", id)
}

/// A masked telephone number.
pub fn phone(id: i64) -> String {
    mark("tel", id)
}

/// A value of a hidden column.
pub fn hid(id: i64) -> String {
    mark("col", id)
}

/// The name of a hidden customer.
pub fn name(id: i64) -> String {
    mark("name", id)
}

/// The memo of a hidden order.
pub fn memo(id: i64) -> String {
    mark("memo", id)
}

/// A literal in a policy's condition.
pub const POLICY: &str = "cnrypolicy01";
/// A literal in a mask's expression.
pub const MASK: &str = "cnrymask01";
/// A folder with files of sources.
pub const FOLDER: &str = "cnryfolder01";
/// A database's name.
pub const DATABASE: &str = "cnrydatabase01";
/// The name of a policy.
pub const POLICY_NAME: &str = "cnrypolicyname01";
/// A value of a hidden table.
pub const VAULT: &str = "cnryvault01";

/// Every one of them, and the other `secrets` (credentials, addresses).
pub fn all(secrets: &[String]) -> Vec<String> {
    let kinds: [fn(i64) -> String; 6] = [word, region, phone, hid, name, memo];
    let values = kinds.iter().flat_map(|kind| (0..EACH).map(kind));
    let single = [POLICY, MASK, FOLDER, DATABASE, POLICY_NAME, VAULT];
    values
        .chain(single.map(str::to_owned))
        .chain(secrets.iter().cloned())
        .collect()
}

/// Looks for canaries in everything that leaves.
#[derive(Clone, Debug)]
pub struct Search {
    secrets: Vec<String>,
    /// How many words it looks for.
    pub words: usize,
}

impl Search {
    /// For the words of the worlds and `secrets`.
    pub fn new(secrets: Vec<String>) -> Self {
        Self {
            words: all(&secrets).len(),
            secrets,
        }
    }

    /// The first canary in `bytes`, with what stands around it.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(bytes);
        // All but the secrets begin with the mark, so one pass finds them.
        let words = std::iter::once(MARK).chain(self.secrets.iter().map(String::as_str));
        words.into_iter().find_map(|word| {
            let at = text.find(word)?;
            Some(text[at..].chars().take(80).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_where_it_stands() {
        let search = Search::new(vec!["pa55".to_owned()]);
        assert!(search.words >= 200, "{}", search.words);
        for word in all(&["pa55".to_owned()]) {
            assert!(search.find(format!("..{word}..").as_bytes()).is_some(), "{word}");
        }
        assert!(search.find(b"nothing to see").is_none());
    }
}
