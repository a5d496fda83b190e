//! A struct that owns an engine and its texts, and is moved into a thread: `cargo run --release --example embed [MODEL]`.

use std::error::Error;
use std::thread;
use whit::generate::{Text, WriteOptions};
use whit::{Engine, Result};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");

/// Writes several stories, a piece of each in turn.
struct Storyteller {
    engine: Engine,
    stories: Vec<Story>,
}

struct Story {
    written: String,
    rest: Text,
}

impl Storyteller {
    fn begin(&mut self, prompt: &str) -> Result<()> {
        let rest = self.engine.write(prompt, WriteOptions { n_tokens: Some(40), ..Default::default() })?;
        self.stories.push(Story { written: prompt.into(), rest });
        Ok(())
    }

    /// Writes each story to its end.
    fn finish(&mut self) -> Result<()> {
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for Story { written, rest } in &mut self.stories {
                if let Some(piece) = rest.next_piece()? {
                    written.push_str(piece.text);
                    goes_on = true;
                }
            }
        }
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let engine = Engine::open(std::env::args().nth(1).unwrap_or(STORIES.into()))?;
    let mut teller = Storyteller { engine, stories: Vec::new() };
    for prompt in ["The little dog", "A red ball", "One day, Lily"] {
        teller.begin(prompt)?;
    }
    let thread = thread::spawn(move || teller.finish().map(|()| teller));
    let teller = thread.join().map_err(|_| "the thread panicked")??;
    teller.stories.iter().for_each(|story| println!("{}\n", story.written));
    Ok(())
}
