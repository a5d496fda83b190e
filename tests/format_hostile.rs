//! One hostile file per rule of FORMAT.md: each is refused with its place and says what is wrong; none panics.

mod flat;
#[path = "flat/hostile.rs"]
mod hostile;

use hostile::Hostile;
use whit::Error;
use whit::error::Kind;
use whit::format::writer::Writer;
use whit::format::{File, FileKind, TensorErrors};
use whit::quant::Dtype;

/// What is broken, how, where the error must point (in the file before the change) and what it must say.
type Row = (&'static str, fn(&mut Hostile), fn(&Hostile) -> usize, &'static str);

/// Rules that are checked before any checksum, or are about checksums: these files are not sealed again.
const UNSEALED: &[Row] = &[
    ("M-04 magic", |f| f.put(0, b"whit"), |_| 0, "not a whit file"),
    ("M-04 magic, reversed", |f| f.put(0, b"\n\x1a\n\rTIHW"), |_| 0, "other byte order"),
    ("M-04 magic, words swapped", |f| f.put(0, b"TIHW\n\x1a\n\r"), |_| 0, "other byte order"),
    ("magic, copied as text", |f| f.put(0, b"WHIT\n\x1a\n\0"), |_| 0, "line ends"),
    ("M-05 GGUF", |f| f.put(0, b"GGUF\x03\0\0\0"), |_| 0, "GGUF"),
    ("M-05 safetensors", |f| f.put(0, b"\x40\0\0\0\0\0\0\0{\"a\""), |_| 0, "safetensors"),
    ("M-05 ZIP", |f| f.put(0, b"PK\x03\x04"), |_| 0, "ZIP"),
    ("M-05 gzip", |f| f.put(0, b"\x1f\x8b\x08"), |_| 0, "gzip"),
    ("M-05 pickle", |f| f.put(0, b"\x80\x02}q\0"), |_| 0, "pickle"),
    ("M-05 web page", |f| f.put(0, b"<!DOCTYPE html>"), |_| 0, "web page"),
    ("M-05 git-lfs", |f| f.put(0, b"version https://git-lfs.github.com"), |_| 0, "git lfs pull"),
    ("zeros", |f| f.bytes.fill(0), |_| 0, "zeros"),
    ("endianness", |f| f.put(12, &[10, 11, 12, 13]), |_| 12, "big-endian"),
    ("endianness marker", |f| f.put_u32(12, 0), |_| 12, "unknown"),
    ("major version 0", |f| f.put(8, &[0, 0]), |_| 8, "version 0.0"),
    ("major version 2", |f| f.put(8, &[2, 0]), |_| 8, "update whit"),
    ("no sections", |f| f.put_u32(28, 0), |_| 28, "0 sections"),
    ("65 sections", |f| f.put_u32(28, 65), |_| 28, "65 sections"),
    ("2^32 - 1 sections", |f| f.put_u32(28, u32::MAX), |_| 28, "4294967295 sections"),
    ("M-07 header checksum", |f| f.bytes[32] ^= 1, |_| 32, "checksum of header and section table"),
    ("M-07 checksum of CONF", |f| flip(f, b"CONF"), |f| f.section(b"CONF"), "CONF"),
    ("M-07 checksum of TOKN", |f| flip(f, b"TOKN"), |f| f.section(b"TOKN"), "TOKN"),
    ("M-07 checksum of TDIR", |f| flip(f, b"TDIR"), |f| f.section(b"TDIR"), "TDIR"),
    ("M-07 checksum of GENR", |f| flip(f, b"GENR"), |f| f.section(b"GENR"), "GENR"),
    ("M-07 checksum of TMPL", |f| flip(f, b"TMPL"), |f| f.section(b"TMPL"), "TMPL"),
    ("M-07 checksum of PROV", |f| flip(f, b"PROV"), |f| f.section(b"PROV"), "PROV"),
    ("M-07 checksum of LICE", |f| flip(f, b"LICE"), |f| f.section(b"LICE"), "LICE"),
    ("M-11 hole before TOKN", |f| before(f, b"TOKN"), |f| f.section(b"TOKN") - 1, "unexpected bytes"),
    ("M-11 hole before WGTS", |f| before(f, b"WGTS"), |f| f.section(b"WGTS") - 1, "unexpected bytes"),
];

/// Rules of the front, in files whose header checksum is right.
const FRONT: &[Row] = &[
    ("kind 0", |f| f.put_u32(24, 0), |_| 24, "kind 0 is unknown"),
    ("kind 3", |f| f.put_u32(24, 3), |_| 24, "kind 3 is unknown"),
    ("reserved, first", |f| f.bytes[40] = 1, |_| 40, "not zero"),
    ("reserved, last", |f| f.bytes[127] = 1, |_| 127, "not zero"),
    ("length + 1", |f| f.put_u64(16, f.bytes.len() as u64 + 1), |_| 16, "missing 1 of"),
    ("length - 1", |f| f.put_u64(16, f.bytes.len() as u64 - 1), |f| f.bytes.len() - 1, "1 bytes follow"),
    ("length 0", |f| f.put_u64(16, 0), |_| 0, "bytes follow"),
    ("length 2^64 - 1", |f| f.put_u64(16, u64::MAX), |_| 16, "missing"),
    ("content hash", |f| f.bytes[64] ^= 1, |_| 64, "content hash"),
    ("checksum of WGTS", |f| f.flip(f.entry(b"WGTS") + 24), |f| f.section(b"WGTS"), "section WGTS"),
    ("id not ASCII", |f| id(f, b"GENR", b"G\xffNR"), |f| f.entry(b"GENR"), "printable ASCII"),
    ("id with a space", |f| id(f, b"GENR", b"GE R"), |f| f.entry(b"GENR"), "printable ASCII"),
    ("id twice", |f| id(f, b"GENR", b"CONF"), |f| f.entry(b"GENR"), "sections 0 and 3"),
    ("unknown required", |f| unknown(f, 1), |f| f.entry(b"GENR"), "required and unknown"),
    ("unknown flag", |f| f.put_u32(f.entry(b"GENR") + 4, 2), |f| f.entry(b"GENR") + 4, "flags 0x2"),
    ("no CONF", |f| renamed(f, b"CONF"), |_| 128, "section CONF is missing"),
    ("no TDIR", |f| renamed(f, b"TDIR"), |_| 128, "section TDIR is missing"),
    ("section of 0 bytes", |f| length(f, b"GENR", 0), |f| f.entry(b"GENR") + 16, "0 bytes"),
    ("section too long", |f| length(f, b"CONF", 1 << 40), |f| f.entry(b"CONF") + 16, "1099511627776 bytes"),
    ("section of 2^64 - 1", |f| length(f, b"WGTS", u64::MAX), |f| f.entry(b"WGTS") + 8, "past the end"),
    ("section past the end", |f| grow(f, b"WGTS", 1), |f| f.entry(b"WGTS") + 8, "past the end"),
    ("last section short", |f| grow(f, b"WGTS", -1), |_| 128, "the last section ends"),
    ("M-10 overlap", |f| grow(f, b"CONF", 64), |f| f.entry(b"TOKN") + 8, "within section CONF"),
    ("M-10 same place", |f| place(f, b"TOKN", f.section(b"CONF")), |f| f.entry(b"TOKN") + 8, "within section CONF"),
    ("within the table", |f| place(f, b"CONF", 128), |f| f.entry(b"CONF") + 8, "within section table"),
    ("offset 0", |f| place(f, b"CONF", 0), |f| f.entry(b"CONF") + 8, "within section table"),
    ("unaligned", |f| place(f, b"TOKN", f.section(b"TOKN") + 1), |f| f.entry(b"TOKN") + 8, "multiple of 64"),
    ("gap of 64", |f| place(f, b"TOKN", f.section(b"TOKN") + 64), |f| f.entry(b"TOKN") + 8, "more than an alignment"),
    ("weights at 64", |f| place(f, b"WGTS", 65_600), |f| f.entry(b"WGTS") + 8, "multiple of 65536"),
    ("weights far off", |f| place(f, b"WGTS", 131_072), |f| f.entry(b"WGTS") + 8, "more than an alignment"),
    ("offset 2^64 - 64", |f| f.put_u64(f.entry(b"TOKN") + 8, u64::MAX - 63), |f| f.entry(b"TOKN") + 8, "alignment"),
];

/// Rules of the sections, in files all of whose checksums are right.
const SECTIONS: &[Row] = &[
    ("M-08 0 tensors", |f| f.put_u32(f.section(b"TDIR"), 0), |f| f.section(b"TDIR"), "0 tensors"),
    ("M-08 2^16 + 1", |f| f.put_u32(f.section(b"TDIR"), 65_537), |f| f.section(b"TDIR"), "65537 elements"),
    ("M-08 2^32 - 1", |f| f.put_u32(f.section(b"TDIR"), u32::MAX), |f| f.section(b"TDIR"), "4294967295 elements"),
    ("one tensor less", |f| f.put_u32(f.section(b"TDIR"), 5), |f| f.section(b"TDIR"), "the tensors end at"),
    ("M-22 name of 0 bytes", |f| f.put(f.tensor(1), &[0, 0]), |f| f.tensor(1), "name of 0 bytes"),
    ("M-22 name of 257", |f| f.put(f.tensor(1), &[1, 1]), |f| f.tensor(1), "name of 257 bytes"),
    ("M-22 name of 65535", |f| f.put(f.tensor(1), &[255, 255]), |f| f.tensor(1) + 2, "65535 bytes needed"),
    ("M-22 NUL", |f| f.put(f.tensor(1) + 3, &[0]), |f| f.tensor(1), "\\u{0}"),
    ("M-22 newline", |f| f.put(f.tensor(1) + 3, b"\n"), |f| f.tensor(1), "\\n"),
    ("M-22 escape", |f| f.put(f.tensor(0) + 2, b"\x1b[2J"), |f| f.tensor(0), "\\u{1b}[2J"),
    ("M-22 not UTF-8", |f| f.put(f.tensor(1) + 3, &[0xff]), |f| f.tensor(1), "not UTF-8"),
    ("M-22 right-to-left", |f| f.put(f.tensor(0) + 2, b"\xe2\x80\xae"), |f| f.tensor(0), "\\u{202e}"),
    ("M-22 line separator", |f| f.put(f.tensor(0) + 2, b"\xe2\x80\xa8"), |f| f.tensor(0), "\\u{2028}"),
    ("M-22 same name", |f| f.put(f.tensor(3) + 2, b"n"), |f| f.tensor(3) + 2, "tensors 1 and 3"),
    ("M-20 dtype", |f| f.put_u32(f.dtype(0), 99), |f| f.dtype(0), "dtype 99 is unknown"),
    ("M-20 dtype of a vector", |f| f.put_u32(f.dtype(1), 2), |f| f.dtype(1) + 8, "not allowed for a vector"),
    ("M-16 rank 0", |f| f.put_u32(f.dtype(0) + 4, 0), |f| f.dtype(0) + 4, "rank 0"),
    ("M-16 rank 3", |f| f.put_u32(f.dtype(0) + 4, 3), |f| f.dtype(0) + 4, "rank 3"),
    ("M-16 rank 5", |f| f.put_u32(f.dtype(0) + 4, 5), |f| f.dtype(0) + 4, "rank 5"),
    ("M-16 rank 255", |f| f.put_u32(f.dtype(0) + 4, 255), |f| f.dtype(0) + 4, "rank 255"),
    ("M-16 rank 2^32 - 1", |f| f.put_u32(f.dtype(0) + 4, u32::MAX), |f| f.dtype(0) + 4, "rank 4294967295"),
    ("M-17 dim 0, max", |f| dims(f, 0, u64::MAX), |f| f.dtype(0) + 8, "dimension 0"),
    ("M-17 dim max, 0", |f| dims(f, u64::MAX, 0), |f| f.dtype(0) + 8, "dimension 18446744073709551615"),
    ("M-17 dim 0 of a vector", |f| f.put_u64(f.dtype(1) + 8, 0), |f| f.dtype(1) + 8, "dimension 0"),
    ("M-14 2^32 x 2^32", |f| dims(f, 1 << 32, 1 << 32), |f| f.dtype(0) + 8, "dimension 4294967296"),
    ("dim 2^31", |f| dims(f, 1 << 31, 1), |f| f.dtype(0) + 8, "dimension 2147483648"),
    // Refused as an overflow where an address has 32 bits.
    #[cfg(target_pointer_width = "64")]
    ("M-14 largest dims", |f| dims(f, (1 << 31) - 1, (1 << 31) - 1), |f| f.offset(0) + 8, "takes"),
    ("transposed", |f| dims(f, 33, 17), |f| f.offset(0) + 8, "takes"),
    ("M-13 size 0", |f| f.put_u64(f.offset(0) + 8, 0), |f| f.offset(0) + 8, "0 bytes, but int8"),
    ("M-19 size - 1", |f| size(f, -1), |f| f.offset(0) + 8, "[17, 33] takes"),
    ("M-19 size + 1", |f| size(f, 1), |f| f.offset(0) + 8, "[17, 33] takes"),
    ("M-19 size - group", |f| size(f, -32), |f| f.offset(0) + 8, "[17, 33] takes"),
    ("M-19 size of another dtype", |f| f.put_u32(f.dtype(0), 0), |f| f.offset(0) + 8, "f32 of shape"),
    ("first tensor not at 0", |f| f.put_u64(f.offset(0), 64), |f| f.tensor(0), "next multiple of 64"),
    ("M-10 tensors overlap", |f| f.put_u64(f.offset(1), f.u64(f.offset(1)) - 64), |f| f.tensor(1), "within tensor"),
    ("tensors at one place", |f| f.put_u64(f.offset(1), 0), |f| f.tensor(1), "within tensor \"embedding\""),
    ("tensor unaligned", |f| f.put_u64(f.offset(2), f.u64(f.offset(2)) + 4), |f| f.tensor(2), "next multiple of 64"),
    ("hole of 64", |f| f.put_u64(f.offset(2), f.u64(f.offset(2)) + 64), |f| f.tensor(2), "next multiple of 64"),
    ("tensor offset 2^64 - 64", |f| f.put_u64(f.offset(5), u64::MAX - 63), |f| f.tensor(5), "next multiple of 64"),
    ("last tensor too long", |f| last(f, 2), |f| f.tensor(5), "past the end of the"),
    ("rms error NaN", |f| f.put(f.offset(0) + 48, &f32::NAN.to_le_bytes()), |f| f.offset(0) + 48, "rms error NaN"),
    ("max error inf", |f| f.put(f.offset(0) + 52, &[0, 0, 128, 127]), |f| f.offset(0) + 48, "max error inf"),
    ("rms -1", |f| f.put(f.offset(0) + 56, &(-1_f32).to_le_bytes()), |f| f.offset(0) + 48, "rms -1"),
    ("hash of a tensor", |f| f.flip(f.offset(0) + 16), |f| f.section(b"WGTS"), "section WGTS"),
    ("template not UTF-8", |f| f.put(f.section(b"TMPL") + 3, &[0xff]), |f| f.section(b"TMPL") + 3, "not UTF-8"),
    ("licence not UTF-8", |f| f.put(f.section(b"LICE"), &[0x80]), |f| f.section(b"LICE"), "not UTF-8"),
    ("source in a directory", |f| source(f, b'/'), |f| f.section(b"PROV") + 33, "not the name of a file"),
    ("source with an escape", |f| source(f, 0x1b), |f| f.section(b"PROV") + 33, "\\u{1b}"),
    ("source count", |f| f.put_u32(f.section(b"PROV") + 29, u32::MAX), |f| f.section(b"PROV") + 29, "elements"),
];

fn flip(f: &mut Hostile, id: &[u8; 4]) {
    f.flip(f.section(id));
}

fn before(f: &mut Hostile, id: &[u8; 4]) {
    let at = f.section(id) - 1;
    f.bytes[at] = 1;
}

fn id(f: &mut Hostile, id: &[u8; 4], new: &[u8; 4]) {
    f.put(f.entry(id), new);
}

fn unknown(f: &mut Hostile, flags: u32) {
    f.put_u32(f.entry(b"GENR") + 4, flags);
    id(f, b"GENR", b"NEWS");
}

fn renamed(f: &mut Hostile, id: &[u8; 4]) {
    let at = f.entry(id);
    f.put(at, b"NEWS\0\0\0\0");
}

fn length(f: &mut Hostile, id: &[u8; 4], bytes: u64) {
    f.put_u64(f.entry(id) + 16, bytes);
}

fn grow(f: &mut Hostile, id: &[u8; 4], by: i64) {
    length(f, id, f.u64(f.entry(id) + 16).wrapping_add_signed(by));
}

fn place(f: &mut Hostile, id: &[u8; 4], offset: usize) {
    f.put_u64(f.entry(id) + 8, offset as u64);
}

fn dims(f: &mut Hostile, rows: u64, cols: u64) {
    f.put_u64(f.dtype(0) + 8, rows);
    f.put_u64(f.dtype(0) + 16, cols);
}

fn size(f: &mut Hostile, by: i64) {
    f.put_u64(f.offset(0) + 8, f.u64(f.offset(0) + 8).wrapping_add_signed(by));
}

fn last(f: &mut Hostile, n: u64) {
    f.put_u64(f.dtype(5) + 8, n);
    f.put_u64(f.offset(5) + 8, 4 * n);
}

/// Changes the third byte of the name "model.safetensors".
fn source(f: &mut Hostile, byte: u8) {
    let at = f.section(b"PROV") + 33 + 2 + 2;
    f.bytes[at] = byte;
}

/// One printable line, of class data.
fn check_line(rule: &str, error: &Error) {
    let line = error.to_string();
    assert!(line.len() < 500 && !line.chars().any(char::is_control), "{rule}: {line:?}");
    assert_eq!(error.kind(), Kind::Data, "{rule}: {line}");
}

fn refuse(small: &Hostile, rows: &[Row], seal: fn(&mut Hostile)) {
    for (rule, change, at, expected) in rows {
        let mut hostile = Hostile::of(&small.bytes);
        change(&mut hostile);
        seal(&mut hostile);
        let error = File::open(&hostile.bytes).expect_err(rule);
        check_line(rule, &error);
        assert!(error.to_string().contains(expected), "{rule}: {error}");
        assert_eq!(error.offset(), Some(at(small) as u64), "{rule}: {error}");
    }
}

#[test]
fn every_broken_rule_is_refused_with_its_place() {
    let small = Hostile::small("rules");
    refuse(&small, UNSEALED, |_| ());
    refuse(&small, FRONT, Hostile::seal_front);
    refuse(&small, SECTIONS, Hostile::seal);
    const { assert!(UNSEALED.len() + FRONT.len() + SECTIONS.len() >= 100) }
}

#[test]
fn what_the_rules_allow_is_accepted() {
    let small = Hostile::small("allowed");
    type Change = fn(&mut Hostile);
    let rows: [(&str, Change); 6] = [
        ("nothing changed", |_| ()),
        ("a higher minor version", |f| f.put(10, &[255, 255])),
        ("an unknown optional section", |f| unknown(f, 0)),
        ("both", |f| {
            f.put(10, &[7, 0]);
            unknown(f, 0);
        }),
        ("word vectors", |f| f.put_u32(24, 2)),
        ("a known section with the other flag", |f| f.put_u32(f.entry(b"LICE") + 4, 1)),
    ];
    for (what, change) in rows {
        let mut file = Hostile::of(&small.bytes);
        change(&mut file);
        file.seal();
        let opened = File::open(&file.bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        opened.verify(&mut |_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    // M-22: names that differ in case are two names.
    let file = File::open(&small.bytes).expect("valid");
    assert_ne!(file.tensor("norm"), file.tensor("Norm"));
}

#[test]
fn sections_are_counted_and_the_weights_are_last() {
    let small = Hostile::small("sections");
    let (directory, weights) = (small.content(b"TDIR"), small.content(b"WGTS"));
    let ids: Vec<[u8; 4]> = (0..61_u8).map(|i| [b'X', b'0' + i / 10, b'0' + i % 10, b'x']).collect();
    let mut sections: Vec<(&[u8; 4], u32, &[u8])> = ids.iter().map(|id| (id, 0, &b"?"[..])).collect();
    sections.extend([(b"CONF", 1, &b"?"[..]), (b"TDIR", 1, directory), (b"WGTS", 1, weights)]);
    let full = Hostile::of_sections(&sections, small.weights_hash);
    assert_eq!(File::open(&full.bytes).expect("64 sections").sections().count(), 64);

    sections.insert(0, (b"more", 0, b"?"));
    let error = File::open(&Hostile::of_sections(&sections, small.weights_hash).bytes).expect_err("65 sections");
    assert!(error.to_string().contains("65 sections"), "{error}");

    let sections: [(&[u8; 4], u32, &[u8]); 3] = [(b"TDIR", 1, directory), (b"WGTS", 1, weights), (b"LATE", 0, b"?")];
    let error = File::open(&Hostile::of_sections(&sections, small.weights_hash).bytes).expect_err("not last");
    assert!(error.to_string().contains("not the last"), "{error}");
    let sections: [(&[u8; 4], u32, &[u8]); 1] = [(b"TDIR", 1, directory)];
    let error = File::open(&Hostile::of_sections(&sections, small.weights_hash).bytes).expect_err("no weights");
    assert!(error.to_string().contains("WGTS is missing"), "{error}");
}

#[test]
fn every_flipped_bit_outside_the_weights_is_found_at_open() {
    let mut small = Hostile::small("bits");
    let last = small.content(b"LICE").as_ptr_range().end.addr() - small.bytes.as_ptr().addr();
    let weights = small.section(b"WGTS");
    let bits = (0..last * 8).chain((last * 8..weights * 8).step_by(61));
    for bit in bits {
        small.bytes[bit / 8] ^= 1 << (bit % 8);
        match File::open(&small.bytes) {
            Err(error) => check_line("a flipped bit", &error),
            Ok(_) => panic!("bit {} of byte {:#x} flipped, and nobody saw it", bit % 8, bit / 8),
        }
        small.bytes[bit / 8] ^= 1 << (bit % 8);
    }
    File::open(&small.bytes).expect("valid again");
}

#[test]
fn every_flipped_bit_of_the_weights_is_found_by_verify_in_its_tensor() {
    let mut small = Hostile::small("weights");
    let weights = small.section(b"WGTS");
    for bit in weights * 8..small.bytes.len() * 8 {
        small.bytes[bit / 8] ^= 1 << (bit % 8);
        let file = File::open(&small.bytes).expect("weights are not read at open");
        let error = file.verify(&mut |_| ()).expect_err("a flipped bit");
        check_line("a flipped bit", &error);
        let within = (bit / 8 - weights) as u64;
        let tensor = file.tensors().iter().rev().find(|tensor| tensor.offset <= within).expect("first is at 0");
        match within < tensor.offset + tensor.bytes {
            // M-28
            true => {
                assert!(error.to_string().contains(&format!("tensor \"{}\"", tensor.name)), "{error}");
                assert_eq!(error.offset(), Some(weights as u64 + tensor.offset));
            }
            false => assert_eq!(error.offset(), Some(bit as u64 / 8), "{error}"),
        }
        small.bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// M-29
#[test]
fn moved_pages_are_found() {
    const PAGE: usize = 4096;
    let directory = flat::Directory::new("pages");
    let path = directory.0.join("pages.whit");
    let tensors = vec![flat::plan("a", Dtype::F32, &[16, 128]), flat::plan("b", Dtype::F32, &[16, 128])];
    let mut writer = Writer::create(&path, FileKind::WordVectors, vec![], tensors, false).expect("planned");
    for page in 1..5 {
        writer.write(&[page; PAGE]).expect("fits");
        if page % 2 == 0 {
            writer.finish_tensor(TensorErrors::default()).expect("whole");
        }
    }
    writer.finish().expect("written");
    let valid = Hostile::of(&std::fs::read(&path).expect("written"));
    let at = valid.section(b"WGTS");
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change, &str); 4] = [
        ("swapped within a tensor", |w| w[..2 * PAGE].rotate_left(PAGE), "\"a\""),
        ("swapped over tensors", |w| w[PAGE..3 * PAGE].rotate_left(PAGE), "\"a\""),
        ("zeros", |w| w[3 * PAGE..].fill(0), "\"b\""),
        ("a page twice", |w| w.copy_within(2 * PAGE..3 * PAGE, 3 * PAGE), "\"b\""),
    ];
    for (what, change, tensor) in changes {
        let mut file = Hostile::of(&valid.bytes);
        change(&mut file.bytes[at..]);
        let error = File::open(&file.bytes).expect("not read at open").verify(&mut |_| ()).expect_err(what);
        assert!(error.to_string().contains(tensor), "{what}: {error}");
    }
}

/// M-01, M-02
#[test]
fn every_cut_is_found_and_says_so() {
    let small = Hostile::small("cuts");
    let length = small.bytes.len();
    let file = File::open(&small.bytes).expect("valid");
    let edges = file.sections().flat_map(|(_, offset, bytes)| [offset as usize, (offset + bytes) as usize]);
    let mut lengths: Vec<usize> = edges.flat_map(|edge| edge - 1..=edge + 1).filter(|n| *n < length).collect();
    lengths.extend(0..600);
    lengths.extend([4095, 4096, 4097, length - 1]);
    let mut state = 1_u64;
    lengths.extend((0..1000).map(|_| random(&mut state) as usize % length));
    for n in lengths {
        let error = File::open(&small.bytes[..n]).expect_err("cut");
        check_line("a cut", &error);
        let line = error.to_string();
        assert!(line.contains("copy it again"), "{n}: {line}");
        match n {
            0 => assert!(line.contains("the file is empty")),
            1..128 => assert!(line.contains(&format!("ends after {n} bytes, within its header of 128")), "{line}"),
            128..384 => assert!(line.contains("within its section table of 384"), "{line}"),
            _ => assert!(line.contains(&format!("missing {} of {length} bytes", length - n)), "{line}"),
        }
    }
}

#[test]
fn bytes_that_are_not_aligned_are_refused() {
    let small = flat::bytes("unaligned");
    let buffer = whit::format::cast::AlignedBytes::copy(&[&[0; 64], &small[..]].concat());
    for start in 1..64 {
        let error = File::open(&buffer[start..start + 100]).expect_err("not aligned");
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("multiple of 64"), "{error}");
    }
    File::open(&buffer[64..]).expect("aligned");
}

#[test]
fn tensors_are_asked_for_by_the_right_name_and_rank() {
    let small = Hostile::small("ask");
    let file = File::open(&small.bytes).expect("valid");
    let errors = [
        (file.matrix("q\x1b[2J").err(), "tensor \"q\\u{1b}[2J\": the tensor is missing"),
        (file.vector("").err(), "missing"),
        (file.matrix("norm").err(), "a vector, not a matrix"),
        (file.vector("embedding").err(), "a matrix, not a vector"),
        (file.require(whit::format::SectionId(*b"NEWS")).err(), "section NEWS is missing"),
    ];
    for (error, expected) in errors {
        let line = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(line.contains(expected), "{line}");
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Changes of any bytes of header, tables and provenance, sealed: opened or refused, and what is opened can be used.
#[test]
fn random_changes_never_panic() {
    let small = Hostile::small("random");
    let mut file = Hostile::of(&small.bytes);
    let end = small.section(b"LICE");
    let mut state = 7;
    let mut accepted = 0;
    for _ in 0..20_000 {
        for _ in 0..=random(&mut state) % 3 {
            let at = 8 + random(&mut state) as usize % (end - 8);
            let value = [0, 1, 2, 0x7f, 0x80, 0xff, random(&mut state) as u8][random(&mut state) as usize % 7];
            let n = [1, 1, 4, 8][random(&mut state) as usize % 4];
            file.bytes[at..at + n].fill(value);
        }
        file.bytes[28] &= 63;
        file.seal();
        match File::open(&file.bytes) {
            Err(error) => check_line("random", &error),
            Ok(opened) => {
                accepted += 1;
                for tensor in opened.tensors() {
                    let _ = (opened.matrix(tensor.name).map(|m| m.rows()), opened.vector(tensor.name));
                }
                let _ = opened.verify(&mut |_| ());
            }
        }
        file.bytes.copy_from_slice(&small.bytes);
    }
    assert!(accepted > 100, "{accepted} of 20000 accepted: the changes reach nothing behind the checksums");
}
