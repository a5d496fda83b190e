//! What is kept of a text on disk: a saved session, and the cache of beginnings.

use super::args::{Full, Keeping};
use std::path::Path;
use std::sync::Arc;
use whit::TokenId;
use whit::error::{Error, Result};
use whit::generate::{OnFull, PrefixCache};
use whit::model::saved::{Key, Part, Saved, Settings, save};
use whit::model::{Model, Session};
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::os::atomic::AtomicFile;

/// A session file that was read.
pub(super) struct SessionFile<'p> {
    path: &'p Path,
    mapping: Option<Mapping>,
    settings: Settings,
}

impl<'p> SessionFile<'p> {
    /// The file that the arguments name, if they do.
    pub(super) fn of(args: &'p Keeping, model: &Model, kv: KvDtype) -> Result<Option<SessionFile<'p>>> {
        args.session.as_deref().map(|path| Self::at(path, model, kv)).transpose()
    }

    /// The file at `path`, which may not exist yet.
    pub(super) fn at(path: &'p Path, model: &Model, kv: KvDtype) -> Result<SessionFile<'p>> {
        let mapping = match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            _ => Some(Mapping::open(path)?),
        };
        Ok(SessionFile { path, mapping, settings: Settings::new(model, kv) })
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What is saved in it, verified.
    pub(super) fn read(&self) -> Result<Option<Saved<'_>>> {
        let Some(mapping) = &self.mapping else { return Ok(None) };
        let saved = Saved::read(mapping, &self.settings).and_then(|saved| match saved.start {
            0 => Ok(saved),
            _ => Err(Error::data("this is an entry of a cache, not a session").field("start").at(96)),
        });
        saved.map(Some).map_err(|error| error.in_file(self.name()))
    }

    /// Saves `tokens`, of which `session` holds the first.
    pub(super) fn write(&self, session: &mut Session, tokens: &[TokenId], note: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create_private(self.path)?;
        let n_held = session.position().min(tokens.len());
        let part = Part { start: 0, parent: Key::default(), tokens, n_held, note };
        let compute = Arc::clone(session.compute());
        save(session.state_mut(), &compute, &self.settings, part, &mut |bytes| file.write(bytes))?;
        file.commit()
    }
}

/// Puts what was saved back; `tokens` begin with it and have one at least to be computed. Returns how many are held.
pub(super) fn restore(saved: &Saved<'_>, session: &mut Session, tokens: &[TokenId]) -> Result<usize> {
    saved.restore(session.state_mut())?;
    Ok(session.rewind(tokens.len() - 1))
}

/// The cache that the arguments or the environment name.
pub(super) fn cache(args: &Keeping, model: &Model, kv: KvDtype) -> Result<Option<PrefixCache>> {
    let named = std::env::var_os("WHIT_CACHE").filter(|path| !path.is_empty()).map(Into::into);
    let Some(path) = args.cache.clone().or(named) else { return Ok(None) };
    PrefixCache::open(&path, model, kv, args.cache_size).map(Some)
}

/// What a full context means for a text that begins with `n_prompt` tokens.
pub(super) fn on_full(args: &Keeping, n_prompt: usize, context_length: usize) -> Result<OnFull> {
    match (args.on_full, args.keep) {
        (Full::Stop, None) => Ok(OnFull::Stop),
        (Full::Stop, Some(_)) => Err(Error::usage("it is of use with --on-full shift only").field("keep")),
        (Full::Shift, Some(keep)) if keep as usize > context_length / 2 => {
            let message = format!("{keep} tokens are more than half of a context of {context_length}");
            Err(Error::usage(message).field("keep"))
        }
        (Full::Shift, Some(keep)) => Ok(OnFull::Shift { keep: keep as usize }),
        (Full::Shift, None) => Ok(OnFull::Shift { keep: n_prompt.min(context_length / 4) }),
    }
}
