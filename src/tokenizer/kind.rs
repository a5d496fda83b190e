//! What tokens are for, and what their names mean in a text.

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A piece of text that merges make.
    Normal,
    /// One byte, the fallback for a character that is no piece.
    Byte,
    /// A mark that only the program sets: begin, end, role.
    Control,
    /// A piece of text that is always one token.
    UserDefined,
    /// Stands for text that the vocabulary cannot spell.
    Unknown,
    /// A number without a meaning.
    Unused,
}

impl TokenKind {
    const ALL: [TokenKind; 6] = [
        TokenKind::Normal,
        TokenKind::Byte,
        TokenKind::Control,
        TokenKind::UserDefined,
        TokenKind::Unknown,
        TokenKind::Unused,
    ];

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The stable name, as it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            TokenKind::Normal => "normal",
            TokenKind::Byte => "byte",
            TokenKind::Control => "control",
            TokenKind::UserDefined => "user-defined",
            TokenKind::Unknown => "unknown",
            TokenKind::Unused => "unused",
        }
    }
}

/// What the names of control tokens mean in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Text like any other: the choice for all that a user or a file says.
    AsText,
    /// The tokens they name: for templates that the program fills.
    Parse,
}
