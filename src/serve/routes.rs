//! What is where.

use super::reply::{Api, Refusal};
use hyper::Method;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Live,
    Ready,
    Health,
    Metrics,
    Status,
    Models,
    Model,
    Chat,
    Completions,
    Responses,
    Embeddings,
    Messages,
    CountTokens,
    Version,
    Tags,
    Running,
    OllamaChat,
    OllamaGenerate,
    OllamaShow,
    OllamaEmbed,
    OllamaPull,
    Props,
    Slots,
    LlamaCompletion,
    Infill,
    Tokenize,
    Detokenize,
    ApplyTemplate,
    Next,
    Score,
    Tokens,
    Lens,
    Attend,
    Receipt,
}

use Route::*;

/// Paths, with their methods.
const ROUTES: [(&str, &str, Route); 42] = [
    ("GET", "/", Page),
    ("GET", "/livez", Live),
    ("GET", "/readyz", Ready),
    ("GET", "/health", Health),
    ("GET", "/v1/health", Health),
    ("GET", "/metrics", Metrics),
    ("GET", "/whit/status", Status),
    ("POST", "/whit/next", Next),
    ("POST", "/whit/score", Score),
    ("POST", "/whit/tokens", Tokens),
    ("POST", "/whit/lens", Lens),
    ("POST", "/whit/attend", Attend),
    ("POST", "/whit/receipt", Receipt),
    ("GET", "/v1/models", Models),
    ("GET", "/models", Models),
    ("POST", "/v1/chat/completions", Chat),
    ("POST", "/chat/completions", Chat),
    ("POST", "/v1/completions", Completions),
    ("POST", "/v1/responses", Responses),
    ("POST", "/v1/embeddings", Embeddings),
    ("POST", "/embeddings", Embeddings),
    ("POST", "/v1/messages", Messages),
    ("POST", "/v1/messages/count_tokens", CountTokens),
    ("GET", "/api/version", Version),
    ("GET", "/api/tags", Tags),
    ("GET", "/api/ps", Running),
    ("POST", "/api/chat", OllamaChat),
    ("POST", "/api/generate", OllamaGenerate),
    ("POST", "/api/show", OllamaShow),
    ("POST", "/api/embed", OllamaEmbed),
    ("POST", "/api/pull", OllamaPull),
    ("GET", "/props", Props),
    ("GET", "/slots", Slots),
    ("POST", "/completion", LlamaCompletion),
    ("POST", "/completions", LlamaCompletion),
    ("POST", "/infill", Infill),
    ("POST", "/tokenize", Tokenize),
    ("POST", "/detokenize", Detokenize),
    ("POST", "/apply-template", ApplyTemplate),
    ("GET", "/v1/props", Props),
    ("GET", "/index.html", Page),
    ("GET", "/v1/slots", Slots),
];

/// The start of the path of one model.
const MODEL: &str = "/v1/models/";

/// Where a request leads.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let wanted = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut there = ROUTES.iter().filter(|(_, at, _)| *at == path).peekable();
    if there.peek().is_some() {
        let found = there.find(|(method, ..)| *method == wanted).map(|(.., route)| *route);
        return found.ok_or_else(|| Refusal::new(405, "this path does not take this method"));
    }
    if path.len() > MODEL.len() && path.starts_with(MODEL) && wanted == "GET" {
        return Ok(Model);
    }
    Err(Refusal::new(404, "there is nothing at this path"))
}

/// The name of a model in its path.
pub(super) fn model_of(path: &str) -> String {
    decoded(path.strip_prefix(MODEL).unwrap_or_default())
}

/// The name of a model in the query of its status; empty where there is none.
pub(super) fn model_of_query(query: &str) -> String {
    let named = query.split('&').find_map(|field| field.strip_prefix("model="));
    decoded(named.unwrap_or_default())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digits = rest.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (byte, digit(digits.next()), digit(digits.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = digits;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// In whose words a path answers.
pub(super) fn api_of(path: &str) -> Api {
    match path {
        _ if path.starts_with("/api/") => Api::Ollama,
        _ if path.starts_with("/v1/messages") => Api::Anthropic,
        _ => Api::OpenAi,
    }
}

impl Route {
    /// Whether it needs no key: the page, which asks for one, and whether the server is well.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Page | Live | Ready | Health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        assert_eq!(route(&Method::POST, "/v1/chat/completions"), Ok(Chat));
        assert_eq!(route(&Method::HEAD, "/"), Ok(Page));
        assert_eq!(route(&Method::GET, "/v1/models/a/b"), Ok(Model));
        let status = |method, path| route(method, path).expect_err("refused").status;
        assert_eq!((status(&Method::GET, "/v1/completions"), status(&Method::POST, "/v1/models/a")), (405, 404));
        assert_eq!((status(&Method::GET, "/v1/models/"), status(&Method::GET, "//")), (404, 404));
        assert_eq!(model_of("/v1/models/a%2Fb%zz%c3%A9"), "a/b%zz\u{e9}");
        assert_eq!(model_of_query("a=b&model=c%20d+e&f"), "c d+e");
        assert_eq!((model_of_query(""), model_of_query("models=a")), (String::new(), String::new()));
        assert_eq!(api_of("/v1/messages/count_tokens"), Api::Anthropic);
    }
}
