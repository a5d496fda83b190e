//! A text that owns all that writes it.

use super::{Piece, StopReason, Writer};
use crate::error::Result;
use crate::model::Session;

/// A text in progress: its writer and the session it is computed in. It borrows nothing and can be sent to another thread.
pub struct Text {
    writer: Writer,
    session: Session,
}

impl Text {
    /// The text that `writer` writes in `session`.
    pub fn new(writer: Writer, session: Session) -> Self {
        Text { writer, session }
    }

    /// The next piece of text; `None` once the text has ended. The first call computes the prompt, each further one a token.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        self.writer.next_piece(&mut self.session, &mut ())
    }

    /// Why the text ended, once it has.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.writer.stop_reason()
    }

    /// The writer, to stop it or to look at its tokens.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// The session, for what comes after the text.
    pub fn into_session(self) -> Session {
        self.session
    }
}
