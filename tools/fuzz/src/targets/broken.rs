//! Readers that break each promise, so that it is known that each is watched. They are run by their names only.

use std::hint::black_box;
use std::time::Duration;

use whit::Error;

use super::Target;
use crate::bench::{Bench, Files, Verdict, processor_time};
use crate::random::Random;

/// A way to break a promise.
#[derive(Clone, Copy)]
pub(super) enum Broken {
    Panic,
    Abort,
    Stack,
    Hang,
    Work,
    Heap,
    Allocation,
    Line,
    Place,
}

impl Broken {
    pub(super) const ALL: [Broken; 9] = [
        Broken::Panic,
        Broken::Abort,
        Broken::Stack,
        Broken::Hang,
        Broken::Work,
        Broken::Heap,
        Broken::Allocation,
        Broken::Line,
        Broken::Place,
    ];

    fn read(self) -> whit::Result<()> {
        match self {
            Broken::Panic => panic!("as it is meant to"),
            Broken::Abort => std::process::abort(),
            Broken::Stack => drop(black_box(endless(1))),
            Broken::Hang => std::thread::park(),
            Broken::Work => {
                let end = processor_time() + Duration::from_millis(3_100);
                while processor_time() < end {}
            }
            Broken::Heap => drop(black_box((0..40).map(|_| vec![1_u8; 1 << 19]).collect::<Vec<_>>())),
            Broken::Allocation => drop(black_box(vec![1_u8; 2 << 20])),
            Broken::Line => return Err(Error::data("two\nlines").at(0)),
            Broken::Place => return Err(Error::data("something is wrong")),
        }
        Ok(())
    }
}

#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn endless(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    endless(frame[63] + 1) + frame[0]
}

impl Target for Broken {
    fn name(&self) -> &'static str {
        match self {
            Broken::Panic => "broken-panic",
            Broken::Abort => "broken-abort",
            Broken::Stack => "broken-stack",
            Broken::Hang => "broken-hang",
            Broken::Work => "broken-work",
            Broken::Heap => "broken-heap",
            Broken::Allocation => "broken-allocation",
            Broken::Line => "broken-line",
            Broken::Place => "broken-place",
        }
    }

    fn make(&self, random: &mut Random) -> Files {
        vec![("number".to_string(), random.bits().to_le_bytes().to_vec())]
    }

    fn run(&self, files: &Files, bench: &mut Bench, _random: &mut Random) -> Verdict {
        bench.reading(super::size(files), || self.read())
    }
}
