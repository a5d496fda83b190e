//! Answers as they are sent, and errors in the shape of each API.

use super::limits::RETRY_SECONDS;
use serde_json::{Value, json};
use whit::error::{Error, Kind};
use whit::failure::with_flags;

/// Whose requests a path is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    OpenAi,
    Ollama,
    Anthropic,
}

/// An answer that is known as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

pub(super) const JSON: &str = "application/json";
pub(super) const EVENTS: &str = "text/event-stream";
pub(super) const LINES: &str = "application/x-ndjson";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const PAGE: &str = "text/html; charset=utf-8";

impl Reply {
    /// A value.
    pub(super) fn json(value: &Value) -> Reply {
        Reply { status: 200, content_type: JSON, body: value.to_string() }
    }

    /// A text.
    pub(super) fn text(content_type: &'static str, body: impl Into<String>) -> Reply {
        Reply { status: 200, content_type, body: body.into() }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Usage | Kind::Data => 400,
            // More tokens than a context holds are the client's.
            Kind::Resources if error.named_field().is_some() => 400,
            Kind::Resources | Kind::Interrupted => 503,
            _ => 500,
        };
        Refusal { status, error }
    }
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, error: Error::usage(message) }
    }

    /// There is no room for it now.
    pub(super) fn busy() -> Refusal {
        Refusal { status: 503, error: Error::usage("as many requests as this server takes wait already") }
    }

    /// Others send long bodies now.
    pub(super) fn crowded() -> Refusal {
        Refusal { status: 503, error: Error::usage("there is no room for so long a body now") }
    }

    /// The server ends.
    pub(super) fn ending() -> Refusal {
        Refusal { status: 503, error: Error::usage("this server is about to end") }
    }

    /// When it may be tried again.
    pub(super) fn retry_after(&self) -> Option<u32> {
        (self.status == 503).then_some(RETRY_SECONDS)
    }

    /// The refusal in the words of `api`.
    pub(super) fn reply(&self, api: Api) -> Reply {
        Reply { status: self.status, content_type: JSON, body: self.value(api).to_string() }
    }

    /// The same as a value.
    pub(super) fn value(&self, api: Api) -> Value {
        let error = with_flags(&self.error);
        let message = error.to_string();
        match api {
            Api::OpenAi => {
                let code = match self.status {
                    400 if self.error.kind() == Kind::Resources => json!("context_length_exceeded"),
                    401 => json!("invalid_api_key"),
                    404 => json!("not_found"),
                    503 => json!("server_busy"),
                    _ => Value::Null,
                };
                json!({"error": {"message": message, "type": self.kind(), "param": error.named_field(), "code": code}})
            }
            Api::Ollama => json!({"error": message}),
            Api::Anthropic => json!({"type": "error", "error": {"type": self.anthropic_kind(), "message": message}}),
        }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            503 => "unavailable_error",
            500..=599 => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn anthropic_kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            503 => "overloaded_error",
            500..=599 => "api_error",
            _ => "invalid_request_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_shape_of_its_api() {
        let refusal = Refusal::from(Error::usage("0 is below 1").field("n"));
        let openai = json!({"error": {
            "message": "n: 0 is below 1", "type": "invalid_request_error", "param": "n", "code": null,
        }});
        assert_eq!((refusal.status, refusal.value(Api::OpenAi)), (400, openai));
        assert_eq!(refusal.value(Api::Ollama), json!({"error": "n: 0 is below 1"}));
        let anthropic =
            json!({"type": "error", "error": {"type": "overloaded_error", "message": Refusal::busy().error.message()}});
        assert_eq!(Refusal::busy().value(Api::Anthropic), anthropic);
        let long = Refusal::from(Error::new(Kind::Resources, "too long").field("prompt"));
        assert_eq!((long.status, &long.value(Api::OpenAi)["error"]["code"]), (400, &json!("context_length_exceeded")));
        assert_eq!(Refusal::from(Error::new(Kind::Resources, "no memory")).status, 503);
    }
}
