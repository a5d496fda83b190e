//! A conversation that is kept in a session file: each change of it is durable before the next line is read.
//!
//! A change is appended as a record. The text with its keys and values is written where the conversation begins and where it ends;
//! what was said since is computed anew from its tokens, to the same bits.

use super::super::args::Keeping;
use super::super::session_file::{Content, Said, SessionFile};
use std::path::Path;
use whit::chat::{Turn, apply_record, from_note, to_note, to_record};
use whit::error::Result;
use whit::generate::ModelFile;
use whit::model::{Session, State};
use whit::ops::KvDtype;

/// A conversation in a file.
pub(super) struct Kept {
    file: SessionFile,
    /// The turns that it is to have.
    turns: Vec<Turn>,
    /// It lacks some of them, because they could not be written.
    is_behind: bool,
}

impl Kept {
    /// The file that the arguments name, if they do.
    pub(super) fn open(args: &Keeping, model: &ModelFile, kv: KvDtype) -> Result<Option<Self>> {
        let file = SessionFile::of(args, model, kv)?;
        Ok(file.map(|file| Kept { file, turns: Vec::new(), is_behind: false }))
    }

    /// Has `state` hold the text in the file, and returns its turns; `None` where nothing was saved yet.
    pub(super) fn restore(&mut self, state: &mut State) -> Result<Option<Vec<Turn>>> {
        let Some(content) = self.file.content()? else { return Ok(None) };
        let said = content.read()?;
        self.turns = restore(&content, &said, state)?;
        self.file.go_on(&said.records);
        Ok(Some(self.turns.clone()))
    }

    /// Whether `path` leads to the file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }

    /// Keeps `turns`, the text of which `session` holds as far as it does.
    pub(super) fn keep(&mut self, session: &mut Session, turns: &[Turn]) -> Result<()> {
        let record = (self.turns != turns).then(|| to_record(&self.turns, turns));
        self.turns = turns.to_vec();
        if !self.file.has_text() || self.is_behind {
            return self.save(session);
        }
        let Some(record) = record else { return Ok(()) };
        let kept = self.file.append(&record);
        self.is_behind = kept.is_err();
        kept
    }

    /// Writes the turns that are kept and the text that `session` holds in place of what is there.
    pub(super) fn save(&mut self, session: &mut Session) -> Result<()> {
        let saved = save(&mut self.file, session, &self.turns);
        self.is_behind = saved.is_err();
        saved
    }
}

/// Saves `turns` in `file`, with the text that `session` holds.
pub(super) fn save(file: &mut SessionFile, session: &mut Session, turns: &[Turn]) -> Result<()> {
    let held = session.state().tokens().to_vec();
    file.write(session, &held, &to_note(turns))
}

/// Has `state` hold the text that `content` said, and returns its turns. After an error it is as it was.
pub(super) fn restore(content: &Content, said: &Said<'_>, state: &mut State) -> Result<Vec<Turn>> {
    let turns = || {
        let mut turns = from_note(said.saved.note)?;
        said.records.contents.iter().try_for_each(|record| apply_record(&mut turns, record))?;
        Ok(turns)
    };
    let turns = turns().map_err(|error: whit::error::Error| error.in_file(content.name()))?;
    said.saved.restore(state)?;
    Ok(turns)
}
