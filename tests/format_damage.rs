//! Damage to a whole model, as a disk or a copy does it: every flipped bit before the weights is found at open; flipped bits
//! and pages of the weights are found by verify, in their tensor.

mod random;
mod support;

use std::collections::BTreeSet;
use std::ops::Range;

use random::Random;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::format::cast::AlignedBytes;
use whit::format::{File, SectionId, TensorEntry};
use whit::quant::Dtype;

const FLIPS: usize = 10_000;
const PAGES: [usize; 2] = [4096, 65_536];

/// Of the many alike, one of so many is tried: all, but where a CPU is emulated and they would take minutes.
fn one_of() -> usize {
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() { 61 } else { 1 }
}

/// A model of three pages of 64 KiB of weights, and where these begin.
fn model(test: &str) -> (AlignedBytes, usize) {
    let folder = Folder::new(test);
    TinyModel { dtype: Dtype::F32, ..TinyModel::llama() }.write(&folder.path("model.whit"));
    let bytes = AlignedBytes::copy(&std::fs::read(folder.path("model.whit")).expect("written"));
    let file = File::open(&bytes).expect("valid");
    file.verify(&mut |_| ()).expect("valid");
    let (_, weights, length) = file.sections().find(|(id, ..)| *id == SectionId::WGTS).expect("weights");
    assert!(length > 2 << 16, "{length}");
    (bytes, weights as usize)
}

#[test]
fn every_flipped_bit_before_the_weights_is_found_at_open() {
    let (bytes, weights) = model("damage-front");
    let file = File::open(&bytes).expect("valid");
    let ends = file.sections().map(|(_, offset, length)| (offset + length) as usize);
    let end = ends.filter(|end| *end <= weights).max().expect("sections before the weights");
    let bits: Vec<usize> = (0..end * 8).chain((end * 8..weights * 8).step_by(one_of())).collect();
    eprintln!("{} bits of sections and tables, {} of the gap", end * 8, bits.len() - end * 8);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let flip = |first: usize| {
        let mut copy = AlignedBytes::copy(&bytes);
        for bit in bits.iter().skip(first).step_by(threads) {
            copy[bit / 8] ^= 1 << (bit % 8);
            match File::open(&copy) {
                Err(error) => assert_eq!(error.kind(), Kind::Data, "{error}"),
                Ok(_) => panic!("bit {} of byte {:#x} flipped, and nobody saw it", bit % 8, bit / 8),
            }
            copy[bit / 8] ^= 1 << (bit % 8);
        }
        File::open(&copy).expect("valid again");
    };
    std::thread::scope(|scope| (0..threads).for_each(|first| _ = scope.spawn(move || flip(first))));
}

/// Asserts that verify finds the damage of `bytes`, and names what byte `first` of the weights, the first that is wrong,
/// belongs to: a tensor, or the gap before one, where that is told by its byte. The name is given.
fn assert_found(bytes: &[u8], weights: usize, first: usize, what: &str) -> String {
    let file = File::open(bytes).expect("weights are not read at open");
    let error = file.verify(&mut |_| ()).expect_err(what);
    let next = file.tensors().iter().find(|tensor| tensor.offset + tensor.bytes > first as u64).expect("the last ends");
    let place = if next.offset > first as u64 { first as u64 } else { next.offset };
    assert_eq!((error.kind(), error.offset()), (Kind::Data, Some(weights as u64 + place)), "{what}: {error}");
    assert!(error.to_string().contains(next.name), "{what}: {error}, not {}", next.name);
    next.name.to_owned()
}

#[test]
fn ten_thousand_flipped_bits_of_the_weights_are_found_in_their_tensors() {
    let (mut bytes, weights) = model("damage-bits");
    let file = File::open(&bytes).expect("valid");
    let place = |tensor: &TensorEntry<'_>| tensor.offset as usize..(tensor.offset + tensor.bytes) as usize;
    let tensors: Vec<Range<usize>> = file.tensors().iter().map(place).collect();
    let gaps: Vec<usize> = tensors.windows(2).flat_map(|pair| pair[0].end * 8..pair[1].start * 8).collect();
    let mut random = Random::new(11);
    let mut flips: Vec<usize> = (0..FLIPS / one_of()).map(|_| random.below((bytes.len() - weights) * 8)).collect();
    flips.extend(gaps.iter().copied().chain(tensors.iter().map(|tensor| tensor.end * 8 - 1)));
    let mut named = BTreeSet::new();
    for bit in &flips {
        let (at, mask) = (weights + bit / 8, 1 << (bit % 8));
        bytes[at] ^= mask;
        named.insert(assert_found(&bytes, weights, bit / 8, &format!("bit {bit} of the weights")));
        bytes[at] ^= mask;
    }
    File::open(&bytes).expect("valid").verify(&mut |_| ()).expect("valid again");
    eprintln!("{} bits in {} tensors and all {} of the gaps", flips.len() - gaps.len(), named.len(), gaps.len());
    assert!(named.len() == tensors.len() && gaps.len() > 1000);
}

#[test]
fn every_page_that_is_swapped_zeroed_or_doubled_is_found() {
    let (bytes, weights) = model("damage-pages");
    type Change = fn(&mut [u8], usize);
    let changes: [(&str, Change); 3] = [
        ("swapped with the next", |pages, page| pages.rotate_left(page)),
        ("zeroed", |pages, page| pages[..page].fill(0)),
        ("a copy of the next", |pages, page| pages.copy_within(page.., 0)),
    ];
    let mut damaged = AlignedBytes::copy(&bytes);
    for page in PAGES {
        for start in (weights..=bytes.len() - 2 * page).step_by(page) {
            for (what, change) in changes {
                change(&mut damaged[start..start + 2 * page], page);
                let first = (start..start + 2 * page).find(|at| bytes[*at] != damaged[*at]).expect("pages differ");
                assert_found(&damaged, weights, first - weights, &format!("{page} bytes at {start:#x} {what}"));
                damaged[start..start + 2 * page].copy_from_slice(&bytes[start..start + 2 * page]);
            }
        }
    }
    File::open(&damaged).expect("valid").verify(&mut |_| ()).expect("valid again");
}
