//! The file of answers: rows are appended to it, and what is there when a run begins is not computed again.

use super::rows::BEGINNING;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use whit::error::{Error, Result};
use whit::os::owned::OwnedFile;

/// The rows of a file that this process owns.
pub(super) struct Kept {
    file: OwnedFile,
    /// The ids of the requests that are answered there, each with the id of its row and its line.
    pub(super) answered: HashMap<String, (String, usize)>,
}

impl Kept {
    /// The file at `path`, which may not exist. A last row that a run was ended in is cut off; a file that holds anything else than
    /// rows is refused and stays as it is.
    pub(super) fn open(path: &Path) -> Result<Kept> {
        let mut file = OwnedFile::open(path)?;
        let mut answered = HashMap::new();
        let Some(mapping) = file.map()? else { return Ok(Kept { file, answered }) };
        let mut end = 0;
        for (i, line) in mapping.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let Some((custom_id, id)) = row(line) else {
                if end + line.len() == mapping.len() && is_torn(line) {
                    break;
                }
                let error = Error::data(format!("line {} is no row of whit batch", i + 1)).in_file(file.name());
                return Err(error.at(end as u64).hint("name another file"));
            };
            if answered.insert(custom_id.clone(), (id, i + 1)).is_some() {
                let error = Error::data(format!("line {} answers {custom_id:?} again", i + 1)).in_file(file.name());
                return Err(error.at(end as u64));
            }
            end += line.len();
        }
        file.cut(end as u64);
        Ok(Kept { file, answered })
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> String {
        self.file.name()
    }

    /// Appends whole `lines`, which stay when this returns.
    pub(super) fn append(&mut self, lines: &str) -> Result<()> {
        if lines.is_empty() { Ok(()) } else { self.file.append(lines.as_bytes()) }
    }
}

/// The ids of the request and of the row, where a line is a whole row.
fn row(line: &[u8]) -> Option<(String, String)> {
    let line = line.strip_suffix(b"\n")?;
    let row: Value = line.starts_with(BEGINNING.as_bytes()).then(|| serde_json::from_slice(line).ok())??;
    Some((row["custom_id"].as_str()?.into(), row["id"].as_str()?.into()))
}

/// Whether the last line of a file can be what is left of a row: its beginning, or zeros that a file system put there.
fn is_torn(line: &[u8]) -> bool {
    let common = line.len().min(BEGINNING.len());
    line[..common] == BEGINNING.as_bytes()[..common] || line.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn whole_rows_stay_a_torn_one_is_cut_and_other_files_are_refused() {
        let path = std::env::temp_dir().join(format!("whit-batch-kept-{}", std::process::id()));
        let row = |id: &str| format!("{BEGINNING}{id}\",\"custom_id\":\"{id}\"}}\n");
        let whole = row("a") + &row("b");
        for torn in ["", "{", BEGINNING, &row("c")[..30], "\0\0\0", row("c").trim_end()] {
            fs::write(&path, whole.clone() + torn).expect("written");
            let mut kept = Kept::open(&path).expect("rows");
            assert_eq!(kept.answered.len(), 2, "{torn}");
            assert_eq!(kept.answered["b"], ("batch_req_b".into(), 2));
            kept.append(&row("d")).expect("written");
            drop(kept);
            assert_eq!(fs::read_to_string(&path).expect("text"), whole.clone() + &row("d"));
        }
        for (other, told) in [
            ("a text\n".to_string(), "line 1 is no row of whit batch"),
            ("a text".to_string(), "line 1 is no row of whit batch"),
            (row("a") + "\n" + &row("b"), "line 2 is no row of whit batch"),
            (row("a") + &row("a"), "line 2 answers \"a\" again"),
        ] {
            fs::write(&path, &other).expect("written");
            let error = Kept::open(&path).err().expect("refused").to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("text"), other, "it stays as it is");
        }
        let _ = fs::remove_file(&path);
    }
}
