//! Who may come in: names by which the server is called, pages of other origins, and keys.

use super::reply::Refusal;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use std::net::IpAddr;

/// The header in which Anthropic's clients send a key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Ends of names that no public name server knows: no page elsewhere can be called so and lead here.
const LOCAL_ENDS: [&str; 6] = [".local", ".localhost", ".lan", ".home", ".home.arpa", ".internal"];

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    /// Keys of which a request has to have one; none: it needs none.
    pub(crate) keys: Vec<String>,
    /// Other origins whose pages may ask; `*` is any.
    pub(crate) origins: Vec<String>,
    /// Names of this server besides addresses and names that are local alone.
    pub(crate) names: Vec<String>,
}

impl Gate {
    /// The origin that is to be told that its page may read the answer, if there is one. Fails where a page of another origin
    /// asks, and where the server is called by a name that may be anybody's: a page could have it lead here.
    pub(super) fn origin<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refusal> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = without_port(host);
        if !is_local(name) && !self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            let message = format!("this server is not known as {}", whit::error::printable(name));
            return Err(Refusal {
                error: whit::Error::usage(message).hint("--name NAME says that it is"),
                status: 403,
            });
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let origin = origin.to_str().unwrap_or_default();
        let is_own = origin.split_once("://").is_some_and(|(_, place)| place.eq_ignore_ascii_case(host));
        let is_allowed =
            |allowed: &String| allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin);
        if is_own {
            return Ok(None);
        }
        if self.origins.iter().any(is_allowed) {
            return Ok(Some(origin));
        }
        let message = format!("pages of {} may not ask this server", whit::error::printable(origin));
        Err(Refusal { error: whit::Error::usage(message).hint("--cors ORIGIN says that they may"), status: 403 })
    }

    /// Fails where a key is wanted and none of them is there.
    pub(super) fn key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(&AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let given = bearer.or(text(&API_KEY)).unwrap_or_default();
        // All are compared, and each to its end.
        let is_one = self.keys.iter().fold(false, |found, key| found | are_equal(key, given));
        if is_one { Ok(()) } else { Err(Refusal::new(401, "this server wants a key, and this is none of its keys")) }
    }
}

/// Equal texts, found in a time that says nothing about where they differ.
fn are_equal(key: &str, given: &str) -> bool {
    let hash = |text: &str| blake3::hash(text.as_bytes());
    hash(key) == hash(given)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

/// Whether no page elsewhere can have a name lead here: an address, a name of this machine or of this network alone. Requests
/// without a name are of HTTP 1.0, which no page sends.
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    !name.contains('.') && !name.contains(':')
        || address.parse::<IpAddr>().is_ok()
        || LOCAL_ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let gate = Gate { names: vec!["llm.example.org".into()], ..Gate::default() };
        for host in
            ["localhost", "localhost:8080", "127.0.0.1:80", "[::1]:8080", "pi", "pi.local:1", "LLM.example.org", ""]
        {
            assert_eq!(gate.origin(&headers(&[("host", host)])), Ok(None), "{host}");
        }
        for host in ["example.org", "127.0.0.1.example.org:80", "rebind.example:8080", "1.2.3.4.5", "a.local.example"] {
            assert!(gate.origin(&headers(&[("host", host)])).is_err_and(|refusal| refusal.status == 403), "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused_unless_named() {
        let of = |origins: &[&str], origin| {
            let gate = Gate { origins: origins.iter().map(|&origin| origin.into()).collect(), ..Gate::default() };
            let headers = headers(&[("host", "localhost:8080"), ("origin", origin)]);
            gate.origin(&headers).map(|allowed| allowed.map(str::to_owned)).map_err(|refusal| refusal.status)
        };
        assert_eq!(of(&[], "http://localhost:8080"), Ok(None));
        for origin in ["http://localhost:3000", "https://example.org", "null"] {
            assert_eq!(of(&[], origin), Err(403), "{origin}");
            assert_eq!(of(&["https://other.org"], origin), Err(403), "{origin}");
            assert_eq!(of(&["https://other.org", "*"], origin), Ok(Some(origin.into())));
        }
        assert_eq!(of(&["https://example.org/"], "https://example.org"), Ok(Some("https://example.org".into())));
    }

    #[test]
    fn a_key_comes_in_either_header() {
        let gate = Gate { keys: vec!["one".into(), "two".into()], ..Gate::default() };
        for (name, value) in [("authorization", "Bearer one"), ("authorization", "bearer two"), ("x-api-key", "two")] {
            assert_eq!(gate.key(&headers(&[(name, value)])), Ok(()), "{name}: {value}");
        }
        for (name, value) in
            [("authorization", "Bearer on"), ("authorization", "one"), ("x-api-key", ""), ("accept", "one")]
        {
            assert!(
                gate.key(&headers(&[(name, value)])).is_err_and(|refusal| refusal.status == 401),
                "{name}: {value}"
            );
        }
        assert_eq!(Gate::default().key(&headers(&[])), Ok(()));
    }
}
