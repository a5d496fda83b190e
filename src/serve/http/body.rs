//! The body of an answer: known as a whole, or a stream of what is being written.

use super::super::form::{Form, Gathered, Part, Written};
use super::super::job::{End, Event, Events, Token};
use super::super::log::Entry;
use super::super::reply::Refusal;
use super::seats::Busy;
use hyper::body::{Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use whit::chat::tools::{self, Reader};

/// A body.
pub(super) struct Body {
    content: Content,
    /// The connection is busy until it was sent.
    busy: Option<Busy>,
    /// The line of the log, which is written when the body was sent or is given up.
    entry: Option<Entry>,
}

enum Content {
    /// All of it; `None` once it was sent.
    Whole(Option<Bytes>),
    Stream(Box<Sending>),
}

/// An answer that is sent as it is written.
struct Sending {
    stream: Stream,
    form: Box<dyn Form>,
    /// What comes before the first event.
    begin: Option<String>,
    has_ended: bool,
    /// What was sent stays known.
    keeps_text: bool,
}

impl Body {
    pub(super) fn whole(text: String) -> Body {
        let content = Content::Whole(Some(text.into()).filter(|bytes: &Bytes| !bytes.is_empty()));
        Body { content, busy: None, entry: None }
    }

    /// What `stream` gives, in the words of `form`; `keeps_text`: it is to be told of as a whole afterwards.
    pub(super) fn stream(stream: Stream, form: Box<dyn Form>, begin: String, keeps_text: bool) -> Body {
        let begin = Some(begin).filter(|begin| !begin.is_empty());
        let content = Content::Stream(Box::new(Sending { stream, form, begin, has_ended: false, keeps_text }));
        Body { content, busy: None, entry: None }
    }

    /// The body of an answer that the log tells of.
    pub(super) fn logged(mut self, entry: Option<Entry>) -> Body {
        self.entry = entry;
        self
    }

    /// The body of an answer that keeps its connection `busy`.
    pub(super) fn of(mut self, busy: Busy) -> Body {
        self.busy = Some(busy);
        self
    }

    /// It was sent, or is given up.
    fn end(&mut self) {
        self.busy = None;
        if let (Content::Stream(sending), Some(entry)) = (&self.content, &mut self.entry) {
            entry.answer((&sending.stream.gathered).into());
        }
        self.entry = None;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.end();
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match &mut self.content {
            Content::Whole(bytes) => bytes.take(),
            Content::Stream(sending) => ready!(sending.poll(cx)).map(Bytes::from),
        };
        if part.is_none() {
            self.end();
        }
        Poll::Ready(part.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl Sending {
    /// The next part of what is sent.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        if let Some(begin) = self.begin.take() {
            return Poll::Ready(Some(begin));
        }
        loop {
            if self.has_ended {
                return Poll::Ready(None);
            }
            let part = match ready!(self.stream.poll(cx)) {
                Ok(Some(happened)) => self.tell(&happened),
                Ok(None) => {
                    self.has_ended = true;
                    self.form.finished(&self.stream.gathered)
                }
                Err(refusal) => {
                    self.has_ended = true;
                    self.form.failed(&refusal)
                }
            };
            if !part.is_empty() {
                return Poll::Ready(Some(part));
            }
        }
    }

    fn tell(&mut self, happened: &Happened) -> String {
        match happened {
            Happened::Begun { text } => self.form.begun(*text),
            Happened::Parts { text, parts, tokens } => self.parts(*text, parts, tokens),
            Happened::Ended { text, parts } => {
                self.parts(*text, parts, &[]) + &self.form.ended(*text, &self.stream.gathered)
            }
        }
    }

    /// Parts of a text; the tokens stand with the first of them.
    fn parts(&mut self, text: usize, parts: &[Part], tokens: &[Token]) -> String {
        let keeps_text = self.keeps_text;
        for part in parts.iter().filter(|part| keeps_text || matches!(part, Part::Call(_))) {
            self.stream.gathered.texts[text].add(part);
        }
        let of = |i: usize| if i == 0 { tokens } else { &[] };
        parts.iter().enumerate().map(|(i, part)| self.form.part(text, part, of(i))).collect()
    }
}

fn parted(parts: Vec<tools::Part>) -> Vec<Part> {
    parts.into_iter().map(Part::of).collect()
}

/// What happened to the texts of an answer.
enum Happened {
    Begun { text: usize },
    Parts { text: usize, parts: Vec<Part>, tokens: Vec<Token> },
    Ended { text: usize, parts: Vec<Part> },
}

/// Texts that are being written, and what is known of them so far.
pub(super) struct Stream {
    events: Events,
    gathered: Gathered,
    /// What parts each text.
    readers: Vec<Reader>,
}

impl Stream {
    /// Of `n_texts` texts behind a prompt of so many tokens, each parted by a copy of `reader`.
    pub(super) fn new(events: Events, n_prompt: usize, n_texts: usize, reader: Reader) -> Stream {
        let texts = (0..n_texts).map(|_| Written::default()).collect();
        Stream { events, gathered: Gathered { n_prompt, texts }, readers: vec![reader; n_texts] }
    }

    /// What is known so far.
    pub(super) fn gathered(&self) -> &Gathered {
        &self.gathered
    }

    /// The next event, of which the gathered texts know; the parts of an answer in one piece are theirs. `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<()>, Refusal> {
        let Some(event) = self.events.next().await else { return self.end() };
        let (text, parts, tokens) = match self.note(event)? {
            Happened::Begun { .. } => return Ok(Some(())),
            Happened::Parts { text, parts, tokens } => (text, parts, tokens),
            Happened::Ended { text, parts } => (text, parts, Vec::new()),
        };
        let written = &mut self.gathered.texts[text];
        parts.iter().for_each(|part| written.add(part));
        written.tokens.extend(tokens);
        Ok(Some(()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Happened>, Refusal>> {
        Poll::Ready(match ready!(self.events.poll(cx)) {
            Some(event) => self.note(event).map(Some),
            None => self.end().map(|_| None),
        })
    }

    fn note(&mut self, event: Event) -> Result<Happened, Refusal> {
        Ok(match event {
            Event::Begun { text, n_held } => {
                self.gathered.texts[text].n_held = n_held;
                Happened::Begun { text }
            }
            Event::Piece { text, piece } => {
                let tokens: Vec<Token> = piece.token.into_iter().collect();
                let mut parts = parted(self.readers[text].push(&piece.text));
                // How a token was chosen is told at once, whatever is said with it.
                if parts.is_empty() && !tokens.is_empty() {
                    parts.push(Part::Text(String::new()));
                }
                Happened::Parts { text, parts, tokens }
            }
            Event::Next { text, next } => {
                self.gathered.texts[text].next = Some(next);
                Happened::Parts { text, parts: Vec::new(), tokens: Vec::new() }
            }
            Event::Receipt { text, receipt } => {
                self.gathered.texts[text].receipt = Some(receipt);
                Happened::Parts { text, parts: Vec::new(), tokens: Vec::new() }
            }
            Event::Ended { text, end } => {
                let end: End = end?;
                self.gathered.texts[text].end = Some(end);
                Happened::Ended { text, parts: parted(self.readers[text].finish()) }
            }
        })
    }

    /// The end, which is none where a text was given up.
    fn end(&self) -> Result<Option<()>, Refusal> {
        if self.gathered.texts.iter().all(|text| text.end.is_some()) {
            return Ok(None);
        }
        Err(Refusal::new(503, "the answer was given up"))
    }
}
