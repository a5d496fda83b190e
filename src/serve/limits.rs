//! Bounds of what a client can take of the server.

use std::time::Duration;
use whit::model::Model;

/// Connections at a time; others wait until one of them ends.
pub(crate) const MOST_CONNECTIONS: u32 = 256;
/// Until all of a request's headers are there, and between two requests of a connection.
pub(super) const HEADER_TIME: Duration = Duration::from_secs(30);
/// Until all of a body is there.
pub(super) const BODY_TIME: Duration = Duration::from_secs(60);
/// In which a client has to take something of what is sent.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);
/// Headers of a request, in number and in bytes.
pub(super) const MOST_HEADERS: usize = 100;
pub(super) const HEADER_BYTES: usize = 64 << 10;
/// Bytes of a body.
pub(super) const MOST_BODY_BYTES: usize = 2 << 20;
/// Bytes of a body that every connection may have in memory; and of what is more than that in each, those of all together.
pub(crate) const BODY_BYTES: usize = 16 << 10;
pub(crate) const LONG_BODY_BYTES: usize = 4 << 20;
/// Private memory that reading a body takes, at most: its values and copies of its texts; and what each byte of a text takes that becomes
/// tokens, where it is one long word.
const READING_BYTES: u64 = 24 << 20;
const TOKENIZING_BYTES: u64 = 40;

/// Bytes of texts that can be a prompt for `model`: more are more than `context_length` tokens, however they are cut.
pub(super) fn most_text(model: &Model, context_length: usize) -> usize {
    let longest = model.tokenizer().map_or(0, |tokenizer| tokenizer.longest_token());
    context_length.saturating_mul(longest)
}

/// Private memory in which a request for `model` is read, at most.
pub(crate) fn reading_bytes(model: &Model, context_length: usize) -> u64 {
    READING_BYTES + TOKENIZING_BYTES * most_text(model, context_length).min(MOST_BODY_BYTES) as u64
}

/// Requests that wait to be read.
pub(super) const MOST_UNREAD: usize = 64;
/// What of an answer may wait for a client that reads slowly, in parts: a piece of text is one, the distribution of a token more.
pub(super) const MOST_WAITING: usize = 1 << 14;
pub(super) const PARTS_OF_SHOWN: usize = 64;
/// Until a client may try again where there is no room for it.
pub(super) const RETRY_SECONDS: u32 = 2;
/// Compiled rules that are kept.
pub(super) const KEPT_RULES: usize = 16;
/// Tokens of a pass of texts that become vectors.
pub(crate) const EMBED_BATCH: usize = 64;
/// Tokens of a text that is looked at.
pub(super) const MOST_LOOKED: usize = 4096;
/// Tokens of such a pass, after each of which there are logits.
pub(super) const SCORE_BATCH: usize = 8;
/// Positions of which the layers are read.
pub(super) const MOST_READ: usize = 64;
/// Shares of looks in an answer, and tokens of a text whose looks are computed.
pub(super) const MOST_LOOKS: usize = 1 << 17;
pub(super) const MOST_LOOKING: usize = 128;
/// What a look into a model takes at most, besides a state and the buffers of a pass.
pub(crate) const LOOK_BYTES: u64 = 16 << 20;
/// Without memory pressure until more texts are written at a time again.
pub(super) const RELIEF: Duration = Duration::from_secs(60);
