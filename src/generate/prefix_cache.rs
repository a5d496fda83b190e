//! Beginnings of texts with their keys and values, kept in a folder: an entry is a block of 32 tokens or, at the end of a
//! text, fewer, named by a hash over settings and all tokens up to its end. So texts that begin alike share entries, an
//! entry is never wrong, only missing, and whatever a power loss leaves of one is recognised by its checksum. The settings name the
//! model by what its file says of its weights, so these are verified before an entry is used or written.

use super::{Entry, ModelFile};
use crate::compute::Compute;
use crate::error::{Error, Kind, Result};
use crate::model::State;
use crate::model::saved::{Key, Part, Saved, Settings, save, seal};
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

/// What was found of a text.
#[derive(Debug, Default)]
pub struct Found {
    /// Tokens that the state holds now.
    pub n_held: usize,
    /// How many of them were read.
    pub n_read: usize,
    /// The keys of the entries that hold the text so far, whether they were read or were not needed.
    pub keys: Vec<Key>,
    /// What was wrong with the last entry that was no good, which was removed.
    pub damaged: Option<Error>,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub struct Stock {
    /// Bytes of all entries.
    pub bytes: u64,
    /// The keys of those that had to go.
    pub removed: Vec<Key>,
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
        Ok(self.extend(state, tokens).n_held)
    }

    /// The same where `state` may hold a beginning of `tokens`, or of another text, already: only what it lacks is read, and it stays as
    /// it is where no more is kept.
    pub fn extend(&self, state: &mut State, tokens: &[TokenId]) -> Found {
        let n_common = state.tokens().iter().zip(tokens).take_while(|(held, token)| held == token).count();
        let mut found = Found::default();
        let (mut start, mut parent) = (0, Key::default());
        for block in tokens.chunks(KV_BLOCK) {
            let whole = (block.len() == KV_BLOCK).then_some(KV_BLOCK);
            if whole.is_some_and(|n| start + n <= n_common) {
                parent = self.settings.key(&parent, block);
                found.keys.push(parent);
                start += KV_BLOCK;
                continue;
            }
            // The longest of the entries that go on from here; after one that is no whole block there is no other.
            let lengths = whole.into_iter().chain((1..=block.len().min(KV_BLOCK - 1)).rev());
            let more = lengths.take_while(|n| start + n > n_common).map(|n| &block[..n]).find_map(|part| {
                let key = self.settings.key(&parent, part);
                let is_restored = self.restore_one(state, &key, (start, &parent, part), &mut found.damaged);
                is_restored.then_some((key, part.len()))
            });
            let Some((key, n)) = more else { break };
            found.keys.push(key);
            found.n_read += n;
            (parent, start) = (key, start + n);
            if n < KV_BLOCK {
                break;
            }
        }
        if found.n_read > 0 {
            self.touch(&found.keys);
        }
        found.n_held = state.hold(tokens);
        found
    }

    /// Notes that the entries of these keys, a text's one after the other, are of use.
    pub fn touch(&self, keys: &[Key]) {
        // Backwards, so that what others build upon goes last.
        keys.iter().rev().for_each(|key| self.folder.touch(&name(key)));
    }

    /// Whether there is an entry of this key.
    pub fn has(&self, key: &Key) -> bool {
        self.folder.has(&name(key))
    }

    /// Writes an entry, unless it is there and whole; returns how many bytes were written.
    ///
    /// Fails where it cannot be written, and where the model's file was changed while it was in use.
    pub fn put(&self, entry: &Entry) -> Result<u64> {
        self.model.check_unchanged()?;
        let name = name(&entry.key);
        let parts = [&entry.unsealed[..], &seal(&entry.unsealed)];
        let n_bytes = parts.iter().map(|part| part.len()).sum();
        let is_whole = |found: Vec<u8>| found.strip_prefix(parts[0]) == Some(parts[1]);
        if self.folder.has(&name) && self.folder.read(&name, n_bytes).is_ok_and(is_whole) {
            return Ok(0);
        }
        let mut file = self.folder.create(&name)?;
        parts.iter().try_for_each(|part| file.write(part))?;
        file.commit_unsynced()?;
        Ok(n_bytes as u64)
    }

    /// Looks at the folder: unfinished entries whose writers are gone are removed, and where there is more than it may hold, what was
    /// not of use for the longest time, so that there is some room again.
    pub fn tidy(&self) -> Result<Stock> {
        self.shrink(self.max_bytes - self.max_bytes / 16)
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
        let mut keys = Vec::new();
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
            keys.push(key);
            start += block.len();
            parent = key;
        }
        if written > 0 {
            self.touch(&keys);
            self.shrink(self.max_bytes)?;
        }
        Ok(written)
    }

    /// Puts the entry of `key` into `state`: `tokens` from position `start` on, behind the text of the key `parent`. False where there is
    /// none that is whole.
    fn restore_one(
        &self,
        state: &mut State,
        key: &Key,
        (start, parent, tokens): (usize, &Key, &[TokenId]),
        damaged: &mut Option<Error>,
    ) -> bool {
        let name = name(key);
        if !self.folder.has(&name) {
            return false;
        }
        let restored = self.folder.read(&name, self.settings.most_block_bytes()).and_then(|bytes| {
            let saved = Saved::read(&bytes, &self.settings)?;
            if saved.parent != *parent || saved.start != start || saved.tokens != tokens || saved.n_held != tokens.len()
            {
                return Err(Error::data("this is the entry of another text"));
            }
            saved.restore(state)
        });
        match restored {
            Ok(()) => true,
            Err(error) => {
                if error.kind() == Kind::Data {
                    self.folder.remove(&name);
                    *damaged = Some(error.in_file(self.folder.path().join(name).display().to_string()));
                }
                false
            }
        }
    }

    /// Where the folder holds more than it may, removes what was not of use for the longest time until it holds `most` bytes.
    fn shrink(&self, most: u64) -> Result<Stock> {
        let mut entries = self.folder.entries(&is_name)?;
        let mut stock = Stock { bytes: entries.iter().map(|entry| entry.bytes).sum(), removed: Vec::new() };
        if stock.bytes <= self.max_bytes {
            return Ok(stock);
        }
        entries.sort_by_key(|entry| entry.used);
        for entry in &entries {
            if stock.bytes <= most {
                break;
            }
            // A file of such a name that is no saved text is somebody else's, and does not count.
            if self.folder.head(&entry.name).is_some_and(|head| Saved::is_one(&head)) {
                self.folder.remove(&entry.name);
                stock.removed.extend(key_of(&entry.name));
            }
            stock.bytes -= entry.bytes;
        }
        Ok(stock)
    }
}

/// Whether an entry may have this name.
fn is_name(name: &str) -> bool {
    key_of(name).is_some()
}

/// The hexadecimal digits of its key, and what says that it is one.
fn name(key: &Key) -> String {
    blake3::Hash::from_bytes(*key).to_hex().to_string() + SUFFIX
}

/// The key of the entry of this name.
fn key_of(name: &str) -> Option<Key> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| !digits.bytes().any(|digit| digit.is_ascii_uppercase()))?;
    blake3::Hash::from_hex(digits).ok().map(Key::from)
}
