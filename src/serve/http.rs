//! Connections: requests come in, answers go out. One thread serves all of them; it computes nothing.

mod body;
mod inbox;
mod io;
mod seats;

use super::desk::{self, Answer, Answered, Texts};
use super::form::Form;
use super::gate::Gate;
use super::house::House;
use super::limits::{HEADER_BYTES, HEADER_TIME, MOST_CONNECTIONS, MOST_HEADERS};
use super::log::{self, Entry};
use super::reply::{Api, JSON, Refusal, Reply};
use super::routes::{Route, api_of, model_of, model_of_query, route};
use super::{stats, status};
use body::{Body, Stream};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use io::{Clock, Io};
use seats::{Seat, Seats};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time;

/// What the page may load and do: what is in it, and to ask this server.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                           img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The header of the name by which a request is known in logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Until the next connection is taken where there are no descriptors.
const NO_DESCRIPTOR: Duration = Duration::from_millis(200);

/// Where requests are read.
pub(super) type Desk = SyncSender<desk::Task>;

/// Serves connections until the server is asked to end and those that are open have ended, or for as long as they may.
pub(super) async fn serve(house: Arc<House>, listener: TcpListener, desk: Desk) {
    let seats = Seats::new(MOST_CONNECTIONS);
    let mut ending = house.ending.subscribe();
    loop {
        let next = async {
            // The one that comes is taken first: only then must somebody leave for it.
            let accepted = listener.accept().await;
            (accepted, seats.take().await)
        };
        let mut ended = pin!(ending.wait_for(|is_ending| *is_ending));
        match first(&mut ended, next).await {
            None => break,
            Some((Ok((stream, client)), Some((seat, place)))) => {
                let served = connection(Arc::clone(&house), stream, client, desk.clone(), seat);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Some(_) => time::sleep(NO_DESCRIPTOR).await,
        }
    }
    drop(listener);
    let mut hurry = house.hurry.subscribe();
    let mut hurried = pin!(hurry.wait_for(|is_hurried| *is_hurried));
    let all_ended = time::timeout(house.options.drain, seats.empty());
    let _ = first(&mut hurried, all_ended).await;
}

/// What `work` gives; `None` where `ended` comes first.
async fn first<W: Future>(ended: &mut (impl Future + Unpin), work: W) -> Option<W::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| match std::pin::Pin::new(&mut *ended).poll(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(cx).map(Some),
    })
    .await
}

/// Serves one connection; when the server ends, to the end of the answer that is being sent.
async fn connection(house: Arc<House>, stream: TcpStream, client: SocketAddr, desk: Desk, seat: Arc<Seat>) {
    let _ = stream.set_nodelay(true);
    let mut ending = house.ending.subscribe();
    let service = service_fn(|request| {
        let (house, desk, busy) = (Arc::clone(&house), desk.clone(), seat.busy());
        async move { Ok::<_, Infallible>(answer(&house, &desk, client.ip(), request).await.map(|body| body.of(busy))) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(Clock).header_read_timeout(HEADER_TIME).max_headers(MOST_HEADERS).max_buf_size(HEADER_BYTES);
    let mut connection = pin!(builder.serve_connection(Io::new(stream), service));
    let mut ended = pin!(ending.wait_for(|is_ending| *is_ending));
    let mut left = pin!(seat.left());
    let mut is_told = false;
    let _ = poll_fn(|cx| {
        if left.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !is_told && ended.as_mut().poll(cx).is_ready() {
            is_told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
}

async fn answer(house: &Arc<House>, desk: &Desk, client: IpAddr, request: Request<Incoming>) -> Response<Body> {
    stats::add(&house.stats.requests, 1);
    let path = request.uri().path();
    let api = api_of(path);
    let headers = request.headers().clone();
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).and_then(log::sane);
    let id = given.map_or_else(|| house.new_id(), str::to_owned);
    let mut entry = Entry::begin(house.log.as_ref(), &id, client, request.method().as_str(), path);
    let mut response = match house.options.gate.origin(&headers) {
        Err(refusal) => refused(house, &refusal, api),
        Ok(_) => {
            let answered = match request.method() == Method::OPTIONS {
                true => Ok(preflight()),
                false => allowed(house, desk, client, request, &mut entry).await,
            };
            let mut response = answered.unwrap_or_else(|refusal| refused(house, &refusal, api));
            open(&house.options.gate, &headers, &mut response);
            response
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    entry.iter_mut().for_each(|entry| entry.status = response.status().as_u16());
    response.map(|body| body.logged(entry))
}

/// Has the page of another origin read an answer, where it may.
fn open(gate: &Gate, headers: &HeaderMap, response: &mut Response<Body>) {
    let Ok(Some(origin)) = gate.origin(headers) else { return };
    let Ok(origin) = HeaderValue::from_str(origin) else { return };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
}

/// What a browser is told before it asks.
fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::whole(String::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-api-key, anthropic-version"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refused(house: &House, refusal: &Refusal, api: Api) -> Response<Body> {
    stats::add(&house.stats.refused, 1);
    let mut response = sent(refusal.reply(api));
    if let Some(seconds) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if refusal.status == 401 {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn sent(reply: Reply) -> Response<Body> {
    let mut response = typed(reply.content_type, Body::whole(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// A body of this type, which nobody takes for another.
fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a request that may come in.
async fn allowed(
    house: &Arc<House>,
    desk: &Desk,
    client: IpAddr,
    request: Request<Incoming>,
    entry: &mut Option<Entry>,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path().to_owned();
    let route = route(request.method(), &path)?;
    if !route.is_open() {
        house.options.gate.key(request.headers())?;
    }
    if route == Route::Page {
        let mut response = sent(status::page(house));
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        return Ok(response);
    }
    let model = match route {
        Route::Status => model_of_query(request.uri().query().unwrap_or_default()),
        _ => model_of(&path),
    };
    if let Some(reply) = status::answer(house, route, &model) {
        return reply.map(sent);
    }
    check_type(request.headers())?;
    let body = inbox::read(request.into_body(), &house.body_room).await?;
    entry.iter_mut().for_each(|entry| entry.ask(&body.bytes));
    let (reply, answer) = oneshot::channel();
    let order = desk::Request { route, body, client, reply };
    desk.try_send(desk::Task::Read(order)).map_err(|error| match error {
        TrySendError::Full(_) => Refusal::busy(),
        TrySendError::Disconnected(_) => Refusal::ending(),
    })?;
    let Answered { answer, model } = answer.await.map_err(|_| Refusal::new(500, "the request was not read"))?;
    entry.iter_mut().for_each(|entry| entry.model.clone_from(&model));
    match answer? {
        Answer::Whole(reply) => Ok(sent(reply)),
        Answer::Vectors { vectors, form } => {
            let vectors = vectors.await.map_err(|_| Refusal::new(500, "the vectors were not computed"))??;
            Ok(sent(Reply::json(&form(vectors))))
        }
        Answer::Looked(value) => {
            let value = value.await.map_err(|_| Refusal::new(500, "the look was not computed"))??;
            Ok(sent(Reply::json(&value)))
        }
        Answer::Texts(texts) => {
            let Texts { mut form, n_prompt, n_texts, is_streamed, events, reader } = *texts;
            let stream = Stream::new(events, n_prompt, n_texts, reader);
            if is_streamed {
                let content_type = form.content_type();
                let begin = form.begin();
                let keeps_text = entry.as_ref().is_some_and(Entry::has_text);
                return Ok(typed(content_type, Body::stream(stream, form, begin, keeps_text)));
            }
            gathered(stream, form, entry).await.map(sent)
        }
    }
}

/// An answer in one piece.
async fn gathered(mut stream: Stream, mut form: Box<dyn Form>, entry: &mut Option<Entry>) -> Result<Reply, Refusal> {
    while stream.next().await?.is_some() {}
    entry.iter_mut().for_each(|entry| entry.answer(stream.gathered().into()));
    Ok(Reply::json(&form.whole(stream.gathered())))
}

/// A page of another origin can send forms and plain text without asking first, but no JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/html"];
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(JSON);
    let kind = given.split(';').next().unwrap_or_default().trim();
    // curl calls what it sends a form where nobody says what it is: it is read all the same, unless a page sent it.
    let is_of_a_page = headers.contains_key(header::ORIGIN);
    if is_of_a_page && FORMS.iter().any(|form| kind.eq_ignore_ascii_case(form)) {
        return Err(Refusal::new(415, "the body has to be JSON"));
    }
    Ok(())
}

/// The models can be asked from now on.
pub(super) fn ready(house: &House) {
    house.is_ready.store(true, Ordering::Relaxed);
}
