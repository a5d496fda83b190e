//! Session files: a text with its keys and values, and what was said in it since.

use super::args::Keeping;
use super::output::note;
use std::path::Path;
use std::sync::Arc;
use whit::TokenId;
use whit::error::{Error, Kind, Result, printable};
use whit::generate::ModelFile;
use whit::model::Session;
use whit::model::journal::{Records, record, records};
use whit::model::saved::{Key, Part, Saved, Settings, save};
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::os::owned::OwnedFile;

/// A session file of this process alone.
pub(super) struct SessionFile {
    file: OwnedFile,
    model: ModelFile,
    settings: Settings,
}

/// The bytes of a session file.
pub(super) struct Content {
    mapping: Mapping,
    name: String,
    settings: Settings,
}

/// What a session file says.
pub(super) struct Said<'c> {
    /// The text, verified.
    pub(super) saved: Saved<'c>,
    /// What was said since it was saved.
    pub(super) records: Records<'c>,
}

impl SessionFile {
    /// The file that the arguments name, if they do.
    pub(super) fn of(args: &Keeping, model: &ModelFile, kv: KvDtype) -> Result<Option<SessionFile>> {
        args.session.as_deref().map(|path| Self::at(path, model, kv)).transpose()
    }

    /// The file at `path`, which may not exist yet; one that is no session is refused. The session is of verified weights.
    pub(super) fn at(path: &Path, model: &ModelFile, kv: KvDtype) -> Result<SessionFile> {
        model.verify(None, false)?;
        let file = OwnedFile::open(path)?;
        if let Some(mapping) = file.map()?
            && !Saved::is_one(&mapping)
        {
            let error = Error::data("this is not a saved session").field("magic").at(0).in_file(file.name());
            return Err(error.hint("name another file"));
        }
        Ok(SessionFile { file, model: model.clone(), settings: Settings::new(model.model(), kv) })
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> String {
        self.file.name()
    }

    /// Whether `path` leads to it.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }

    /// What is in it; `None` where nothing was saved yet.
    pub(super) fn content(&self) -> Result<Option<Content>> {
        Ok(self.file.map()?.map(|mapping| Content { mapping, name: self.name(), settings: self.settings.clone() }))
    }

    /// Goes on behind `records`, which are all that are whole. What follows them is told.
    pub(super) fn go_on(&mut self, records: &Records<'_>) {
        let end = records.end as u64;
        if end < self.file.bytes() {
            let (name, n) = (self.name(), self.file.bytes() - end);
            let name = printable(&name);
            note(format_args!("whit: {name}: the last {n} bytes are left out, a turn that was not written to its end"));
        }
        self.file.cut(end);
    }

    /// Whether a text was saved in it, so that records may follow.
    pub(super) fn has_text(&self) -> bool {
        self.file.bytes() > 0
    }

    /// Appends a record of `content`, which is durable when this returns.
    pub(super) fn append(&mut self, content: &[u8]) -> Result<()> {
        let record = record(self.file.bytes(), content).map_err(|error| error.in_file(self.name()))?;
        self.file.append(&record)
    }

    /// Saves `tokens`, of which `session` holds the first, in place of all that is there. Fails where the model was changed while
    /// it was in use.
    pub(super) fn write(&mut self, session: &mut Session, tokens: &[TokenId], note: &[u8]) -> Result<()> {
        self.model.check_unchanged()?;
        let n_held = session.position().min(tokens.len());
        let part = Part { start: 0, parent: Key::default(), tokens, n_held, note };
        let compute = Arc::clone(session.compute());
        let settings = &self.settings;
        self.file
            .replace(&mut |file| save(session.state_mut(), &compute, settings, part, &mut |bytes| file.write(bytes)))
    }
}

impl Content {
    /// That of the file at `path`, which another process may be writing to.
    pub(super) fn at(path: &Path, model: &ModelFile, kv: KvDtype) -> Result<Content> {
        model.verify(None, false)?;
        let (mapping, name) = (Mapping::open(path)?, path.display().to_string());
        Ok(Content { mapping, name, settings: Settings::new(model.model(), kv) })
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it says, verified.
    pub(super) fn read(&self) -> Result<Said<'_>> {
        let read = || {
            let (saved, end) = Saved::read_first(&self.mapping, &self.settings)?;
            if saved.start != 0 {
                return Err(Error::data("this is an entry of a cache, not a session").field("start").at(96));
            }
            Ok(Said { saved, records: records(&self.mapping, end)? })
        };
        read().map_err(|error| error.in_file(&self.name))
    }

    /// The text in it, verified; a conversation is refused, because what was said would be lost to who goes on with its text.
    pub(super) fn read_text(&self) -> Result<Saved<'_>> {
        let Said { saved, records } = self.read()?;
        if saved.note.is_empty() && records.contents.is_empty() {
            return Ok(saved);
        }
        let error = Error::new(Kind::Usage, "this is a conversation, not a text").field("session");
        Err(error.in_file(&self.name).hint("whit chat goes on with it"))
    }
}
