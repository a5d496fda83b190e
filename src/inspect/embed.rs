//! Texts as vectors: the last hidden states of their tokens, pooled.

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::model::{Model, Span, State, StateOptions, Wants, Watch, Workspace};
use crate::ops::KvDtype;
use crate::token::TokenId;
use alloc::sync::Arc;

/// How the last hidden states of the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the last token, which has seen the whole text.
    Last,
    /// That of the first token, the place of CLS. Each token sees those before it only, so it is that token's alone.
    First,
}

/// How texts become vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedOptions {
    /// How the states of the tokens become one vector.
    pub pooling: Pooling,
    /// Vectors are divided by their length.
    pub normalizes: bool,
    /// Tokens of the longest text.
    pub context_length: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Tokens of a pass, at most; changes speed and memory, never a bit.
    pub batch: usize,
    /// Texts that are in memory together, at most; changes speed and memory, never a bit.
    pub n_texts: usize,
}

/// Turns texts into vectors, many of them in one pass. The vector of a text does not depend on the others.
pub struct Embedder {
    model: Arc<Model>,
    compute: Arc<Compute>,
    workspace: Workspace,
    slots: Vec<Slot>,
    options: EmbedOptions,
}

impl Pooling {
    /// What has to be read of the `tokens` of a text.
    fn read(self, tokens: &[TokenId]) -> &[TokenId] {
        if self == Pooling::First { &tokens[..1] } else { tokens }
    }
}

/// Room for a text.
struct Slot {
    state: State,
    /// Which of the texts it is; `None` where there is none.
    text: Option<usize>,
    /// Sums over the states of its tokens so far, (dim).
    sums: Vec<f64>,
}

impl Slot {
    /// Makes room for `text`.
    fn begin(&mut self, text: usize) {
        self.text = Some(text);
        self.state.rewind(0);
        self.sums.fill(0.0);
    }
}

/// The tokens of a text in a pass.
struct Part<'s> {
    text: usize,
    /// Where the slot notes the text.
    place: &'s mut Option<usize>,
    sums: &'s mut [f64],
    /// States of these tokens that are added to the sums.
    n_rows: usize,
    /// States of all tokens of the text that are.
    n_pooled: usize,
    is_complete: bool,
}

impl Embedder {
    /// Allocates all that is needed but the vectors.
    pub fn new(model: &Arc<Model>, compute: &Arc<Compute>, options: EmbedOptions) -> Result<Self> {
        let EmbedOptions { context_length, kv, batch, n_texts, .. } = options;
        let slot = || {
            let state = model.state(StateOptions { context_length, kv, slack: batch })?;
            Ok(Slot { state, text: None, sums: vec![0.0; model.config().dim] })
        };
        Ok(Embedder {
            workspace: Workspace::new(model, batch, 1)?,
            slots: (0..n_texts.max(1)).map(|_| slot()).collect::<Result<_>>()?,
            model: Arc::clone(model),
            compute: Arc::clone(compute),
            options,
        })
    }

    /// The vectors of `texts`, (texts, dim), in their order. `step` is given how many texts are done after each pass, and ends the
    /// work where it returns false: then there are none.
    ///
    /// Fails where a text has no token, one that is not in the vocabulary, or more than the context holds, and where a vector is
    /// not finite or, if it is to be normalized, zero. The error names the text by its place.
    pub fn embed(&mut self, texts: &[Vec<TokenId>], step: &mut dyn FnMut(usize) -> bool) -> Result<Option<Vec<f32>>> {
        check(texts, self.options.context_length)?;
        self.slots.iter_mut().for_each(|slot| slot.text = None);
        let mut vectors = vec![0.0; texts.len() * self.model.config().dim];
        let (mut n_begun, mut n_done) = (0, 0);
        while n_done < texts.len() {
            for slot in self.slots.iter_mut().filter(|slot| slot.text.is_none()) {
                if n_begun < texts.len() {
                    slot.begin(n_begun);
                    n_begun += 1;
                }
            }
            n_done += self.pass(texts, &mut vectors)?;
            if !step(n_done) {
                return Ok(None);
            }
        }
        Ok(Some(vectors))
    }

    /// Computes as many tokens as a pass takes; writes the vectors of texts that are complete then, and returns their number.
    fn pass(&mut self, texts: &[Vec<TokenId>], vectors: &mut [f32]) -> Result<usize> {
        let Embedder { model, compute, workspace, slots, options } = self;
        let dim = model.config().dim;
        let mut room = workspace.batch();
        let (mut spans, mut parts) = (Vec::new(), Vec::new());
        for Slot { state, text: place, sums } in slots {
            let Some(text) = *place else { continue };
            let tokens = options.pooling.read(&texts[text]);
            let left = &tokens[state.position()..];
            let n = left.len().min(room).min(state.max_span());
            if n == 0 {
                continue;
            }
            room -= n;
            let is_complete = n == left.len();
            let wants = match options.pooling {
                Pooling::Mean => Wants::Each,
                Pooling::Last | Pooling::First if is_complete => Wants::Last,
                Pooling::Last | Pooling::First => Wants::Nothing,
            };
            let n_rows = match wants {
                Wants::Nothing => 0,
                Wants::Last => 1,
                Wants::Each => n,
            };
            spans.push(Span { state, tokens: &left[..n], wants });
            let n_pooled = if options.pooling == Pooling::Mean { tokens.len() } else { 1 };
            parts.push(Part { text, place, sums, n_rows, n_pooled, is_complete });
        }
        let n_rows = workspace.pass(model, compute, &mut spans, Watch::default())?;
        let mut rows = workspace.hidden(model, compute, 0..n_rows).chunks_exact(dim);
        let mut n_done = 0;
        for part in parts {
            for row in rows.by_ref().take(part.n_rows) {
                part.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            if part.is_complete {
                let vector = &mut vectors[part.text * dim..][..dim];
                finish(part.sums, part.n_pooled, options.normalizes, vector)
                    .map_err(|error| error.field(format!("text {}", part.text)))?;
                *part.place = None;
                n_done += 1;
            }
        }
        Ok(n_done)
    }
}

/// Refuses a text without tokens and one that is too long. Whether its tokens are in the vocabulary, a pass says.
fn check(texts: &[Vec<TokenId>], context_length: usize) -> Result<()> {
    for (i, text) in texts.iter().enumerate() {
        let refused = match text.len() {
            0 => Error::usage("it has no token"),
            n if n > context_length => Error::usage(format!("{n} tokens exceed the context of {context_length}")),
            _ => continue,
        };
        return Err(refused.field(format!("text {i}")));
    }
    Ok(())
}

/// The mean of `n` rows from their `sums`, divided by its length where that is asked for, into `vector` (dim).
fn finish(sums: &[f64], n: usize, normalizes: bool, vector: &mut [f32]) -> Result<()> {
    vector.iter_mut().zip(sums).for_each(|(value, sum)| *value = (sum / n as f64) as f32);
    if let Some(i) = vector.iter().position(|value| !value.is_finite()) {
        return Err(Error::data(format!("element {i} of its vector is {}", vector[i])));
    }
    if normalizes {
        let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(Error::data("its vector is zero and has no direction"));
        }
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;
    use crate::model::{Observer, Op, Point, Session, SessionOptions};

    fn opened(n_threads: usize) -> Option<(Arc<Model>, Arc<Compute>)> {
        let model = Arc::new(Model::open(crate::default_model()?).expect("the story model"));
        Some((model, Arc::new(Compute::new(kernels::detect(), n_threads).expect("threads"))))
    }

    fn options(pooling: Pooling) -> EmbedOptions {
        let (context_length, kv) = (200, KvDtype::F16);
        EmbedOptions { pooling, normalizes: false, context_length, kv, batch: 1, n_texts: 1 }
    }

    fn texts() -> Vec<Vec<TokenId>> {
        [1, 150, 3, 64, 7, 33, 100, 2].iter().map(|n| (0..*n).map(|i| (i * 37 + n * 11) % 900).collect()).collect()
    }

    /// Sees what the unembedding reads of each token.
    struct Hidden(Vec<f32>);

    impl Observer for Hidden {
        fn see(&mut self, _layer: Option<usize>, point: Point, values: &[f32]) {
            if point == Point::Input(Op::Unembedding) {
                self.0.extend_from_slice(values);
            }
        }
    }

    #[test]
    fn vectors_are_pooled_from_what_the_unembedding_reads() {
        let Some((model, compute)) = opened(1) else { return };
        let dim = model.config().dim;
        for (pooling, normalizes) in
            [Pooling::Mean, Pooling::Last, Pooling::First].map(|p| [(p, false), (p, true)]).concat()
        {
            let options = EmbedOptions { normalizes, batch: 48, n_texts: 3, ..options(pooling) };
            let mut embedder = Embedder::new(&model, &compute, options).expect("memory");
            let vectors = embedder.embed(&texts(), &mut |_| true).expect("vectors").expect("all of them");
            for (text, vector) in texts().iter().zip(vectors.chunks_exact(dim)) {
                let session = SessionOptions { context_length: 200, logit_rows: 192, ..SessionOptions::default() };
                let mut session = Session::new(&model, &compute, session).expect("a session");
                let mut hidden = Hidden(Vec::new());
                session.observe(text, &mut hidden).expect("room");
                let rows: Vec<&[f32]> = hidden.0.chunks_exact(dim).collect();
                assert_eq!(rows.len(), text.len());
                let naive = |i: usize| match pooling {
                    Pooling::Mean => rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / rows.len() as f64,
                    Pooling::Last => f64::from(rows[rows.len() - 1][i]),
                    Pooling::First => f64::from(rows[0][i]),
                };
                let length = (0..dim).map(|i| naive(i).powi(2)).sum::<f64>().sqrt();
                for (i, value) in vector.iter().enumerate() {
                    let want = if normalizes { naive(i) / length } else { naive(i) };
                    assert!(
                        (f64::from(*value) - want).abs() <= 1e-6 * (1.0 + want.abs()),
                        "{pooling:?}: {value} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_batch_and_no_number_of_texts_or_threads_changes_a_bit() {
        for pooling in [Pooling::Mean, Pooling::Last, Pooling::First] {
            let mut first: Option<Vec<u32>> = None;
            for (n_threads, batch, n_texts) in [(1, 1, 1), (2, 192, 8), (1, 7, 3), (3, 64, 2), (1, 192, 100)] {
                let Some((model, compute)) = opened(n_threads) else { return };
                let options = EmbedOptions { normalizes: true, batch, n_texts, ..options(pooling) };
                let mut embedder = Embedder::new(&model, &compute, options).expect("memory");
                for _ in 0..2 {
                    let vectors = embedder.embed(&texts(), &mut |_| true).expect("vectors").expect("all of them");
                    let bits: Vec<u32> = vectors.iter().map(|value| value.to_bits()).collect();
                    assert!(
                        *first.get_or_insert_with(|| bits.clone()) == bits,
                        "{pooling:?} {n_threads} {batch} {n_texts}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_a_vector_is_refused_by_the_place_of_its_text() {
        let Some((model, compute)) = opened(1) else { return };
        let mut embedder = Embedder::new(&model, &compute, options(Pooling::Last)).expect("memory");
        let mut refused = |text: Vec<TokenId>| {
            let error = embedder.embed(&[vec![1], text], &mut |_| true).expect_err("refused");
            error.to_string()
        };
        assert_eq!(refused(vec![]), "text 1: it has no token");
        assert_eq!(refused(vec![1; 201]), "text 1: 201 tokens exceed the context of 200");
        assert!(refused(vec![1024]).contains("outside the vocabulary"));
        assert_eq!(embedder.embed(&texts(), &mut |n| n < 2), Ok(None), "ended early");
        let mut vector = [0.0];
        let told = |sums: &[f64], vector: &mut [f32]| finish(sums, 1, true, vector).expect_err("refused").to_string();
        assert_eq!(told(&[f64::NAN], &mut vector), "element 0 of its vector is NaN");
        assert_eq!(told(&[0.0], &mut vector), "its vector is zero and has no direction");
    }
}
