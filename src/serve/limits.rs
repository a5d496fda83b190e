//! Bounds of what a client can take of the server.

use std::time::Duration;

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
pub(super) const MOST_BODY_BYTES: usize = 16 << 20;
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
/// Without memory pressure until more texts are written at a time again.
pub(super) const RELIEF: Duration = Duration::from_secs(60);
