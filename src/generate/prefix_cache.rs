//! Beginnings of texts with their keys and values, kept in a folder: an entry is a block of 32 tokens or, at the end of a
//! text, fewer, named by a hash over settings and all tokens up to its end. So texts that begin alike share entries, an
//! entry is never wrong, only missing, and whatever a power loss leaves of one is recognised by its checksum. The settings name the
//! model by what its file says of its weights, so these are verified before an entry is used or written.

use super::ModelFile;
use crate::compute::Compute;
use crate::error::{Error, Kind, Result};
use crate::model::State;
use crate::model::saved::{Key, Part, Saved, Settings, save};
use crate::ops::{KV_BLOCK, KvDtype};
use crate::os::folder::Folder;
use crate::token::TokenId;
use std::path::Path;

const SUFFIX: &str = ".kv";

/// Beginnings of texts under the settings of one model.
pub struct PrefixCache {
    folder: Folder,
    model: ModelFile,
    settings: Settings,
    max_bytes: u64,
}

impl PrefixCache {
    /// Those kept in the folder at `path`, which is made where it does not exist and holds up to `max_bytes`. The weights of `model`
    /// are verified, if that was not done since the machine was started.
    pub fn open(path: &Path, model: &ModelFile, kv: KvDtype, max_bytes: u64) -> Result<PrefixCache> {
        let folder = Folder::open(path)?;
        model.verify(Some(&folder), false)?;
        Ok(PrefixCache { folder, model: model.clone(), settings: Settings::new(model.model(), kv), max_bytes })
    }

    /// Puts the longest beginning of `tokens` that is kept into `state`, which holds nothing yet; the state then holds as many
    /// tokens as this returns, and at most all but one.
    pub fn restore(&self, state: &mut State, tokens: &[TokenId]) -> Result<usize> {
        let mut names = Vec::new();
        let mut parent = Key::default();
        for block in tokens.chunks(KV_BLOCK) {
            let whole = (block.len() == KV_BLOCK).then_some(KV_BLOCK);
            // The longest of the entries that go on from here; after one that is no whole block there is no other.
            let lengths = whole.into_iter().chain((1..=block.len().min(KV_BLOCK - 1)).rev());
            let found = lengths.map(|n| &block[..n]).find_map(|part| {
                let key = self.settings.key(&parent, part);
                self.restore_one(state, &key, &parent, part).then_some((key, part.len()))
            });
            let Some((key, n)) = found else { break };
            names.push(name(&key));
            parent = key;
            if n < KV_BLOCK {
                break;
            }
        }
        // Backwards, so that what others build upon goes last.
        names.iter().rev().for_each(|name| self.folder.touch(name));
        Ok(state.rewind(tokens.len().saturating_sub(1)))
    }

    /// Keeps the beginning of `tokens` that `state` holds; returns how many tokens were written. What layers with a window have
    /// given up is left out, so that a long text is best kept while it is computed.
    ///
    /// Fails where `state` holds another text, and where it goes on in the block of 32 in which `tokens` end: what follows a kept
    /// text in its last block is overwritten with zeros. And where the model's file was changed while it was in use.
    pub fn keep(&self, state: &mut State, compute: &Compute, tokens: &[TokenId]) -> Result<usize> {
        let tokens = &tokens[..state.position().min(tokens.len())];
        if !state.tokens().starts_with(tokens) {
            return Err(Error::usage("the state holds another text").field("tokens"));
        }
        if !tokens.len().is_multiple_of(KV_BLOCK) && state.position() > tokens.len() {
            let message = format!("{} tokens end within a block, in which the state goes on", tokens.len());
            return Err(Error::usage(message).field("tokens"));
        }
        self.model.check_unchanged()?;
        let mut names = Vec::new();
        let (mut start, mut written, mut parent) = (0, 0, Key::default());
        for block in tokens.chunks(KV_BLOCK) {
            let key = self.settings.key(&parent, block);
            let name = name(&key);
            if state.holds_block(start / KV_BLOCK) && !self.folder.has(&name) {
                let part = Part { start, parent, tokens: block, n_held: block.len(), note: &[] };
                let mut file = self.folder.create(&name)?;
                save(state, compute, &self.settings, part, &mut |bytes| file.write(bytes))?;
                file.commit_unsynced()?;
                written += block.len();
            }
            names.push(name);
            start += block.len();
            parent = key;
        }
        if written > 0 {
            names.iter().rev().for_each(|name| self.folder.touch(name));
            self.shrink()?;
        }
        Ok(written)
    }

    /// Puts the entry of `key` into `state`; false where there is none that is whole.
    fn restore_one(&self, state: &mut State, key: &Key, parent: &Key, tokens: &[TokenId]) -> bool {
        let name = name(key);
        if !self.folder.has(&name) {
            return false;
        }
        let start = state.position();
        let restored = self.folder.map(&name).and_then(|mapping| {
            let saved = Saved::read(&mapping, &self.settings)?;
            if saved.parent != *parent || saved.start != start || saved.tokens != tokens || saved.n_held != tokens.len()
            {
                return Err(Error::data("this is the entry of another text"));
            }
            saved.restore(state)
        });
        if restored.as_ref().is_err_and(|error| error.kind() == Kind::Data) {
            self.folder.remove(&name);
        }
        restored.is_ok()
    }

    /// Removes what was not of use for the longest time until the folder holds no more than it may.
    fn shrink(&self) -> Result<()> {
        let mut entries = self.folder.entries(&is_name)?;
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by_key(|entry| entry.used);
        for entry in &entries {
            if bytes <= self.max_bytes {
                break;
            }
            // A file of such a name that is no saved text is somebody else's, and does not count.
            if self.folder.head(&entry.name).is_some_and(|head| Saved::is_one(&head)) {
                self.folder.remove(&entry.name);
            }
            bytes -= entry.bytes;
        }
        Ok(())
    }
}

/// Whether an entry may have this name: the hexadecimal digits of its key.
fn is_name(name: &str) -> bool {
    let digits = name.strip_suffix(SUFFIX).unwrap_or_default().as_bytes();
    digits.len() == 2 * size_of::<Key>() && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn name(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + SUFFIX
}
