//! The writer: what it writes reads back, and a target is the whole old file or the whole new one.

mod flat;

use std::fs;

use flat::Directory;
use whit::error::Kind;
use whit::format::cast::AlignedBytes;
use whit::format::writer::Writer;
use whit::format::{File, FileKind, SectionId, TensorErrors};
use whit::os::Mapping;
use whit::os::atomic::AtomicFile;
use whit::quant::Dtype;

#[test]
fn what_is_written_reads_back() {
    let directory = Directory::new("round-trip");
    let path = directory.0.join("small.whit");
    flat::write(&path, false, 1000).expect("valid file");
    let mapping = Mapping::open(&path).expect("regular file");
    let file = File::open(&mapping).expect("valid file");

    assert_eq!(file.kind(), FileKind::LanguageModel);
    assert_eq!(file.file_bytes(), mapping.len() as u64);
    for (id, bytes) in flat::sections() {
        assert_eq!(file.section(id), Some(&bytes[..]), "{id}");
    }
    assert_eq!(file.template(), Some("{{ messages }}"));
    assert_eq!(file.licence(), Some("Do as you like — ©"));
    assert_eq!(file.provenance().map(|p| p.sources[0].bytes), Some(1234));
    let ids: Vec<String> = file.sections().map(|(id, ..)| id.to_string()).collect();
    assert_eq!(ids, ["CONF", "TOKN", "TDIR", "GENR", "TMPL", "PROV", "LICE", "WGTS"]);
    let (.., weights, length) = file.sections().last().expect("weights");
    assert_eq!((weights % 65_536, weights + length), (0, file.file_bytes()));

    for (index, plan) in flat::tensors().iter().enumerate() {
        let entry = file.tensor(&plan.name).expect("written");
        assert_eq!((entry.dtype, entry.dims()), (plan.dtype, &plan.dims[..]));
        assert_eq!(entry.errors, TensorErrors { rms: 0.25, max: 0.5, signal_rms: index as f32 });
        let data = file.data(entry).expect("in the file");
        assert!(data.iter().enumerate().all(|(i, byte)| *byte == flat::weight(index, i as u64)));
        match plan.dims[..] {
            [n] => assert_eq!(file.vector(&plan.name).expect("vector").len() as u64, n),
            _ => {
                let matrix = file.matrix(&plan.name).expect("matrix");
                assert_eq!((matrix.rows() as u64, matrix.cols() as u64), (plan.dims[0], plan.dims[1]));
                assert_eq!(matrix.data(), data);
            }
        }
    }
    let mut heard = 0;
    file.verify(&mut |done| heard = done).expect("whole");
    assert_eq!(heard, length);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let directory = Directory::new("same");
    let (first, second) = (directory.0.join("first"), directory.0.join("second"));
    flat::write(&first, false, 1000).expect("valid file");
    flat::write(&second, false, 1).expect("valid file");
    let (first, second) = (fs::read(first).expect("written"), fs::read(second).expect("written"));
    assert!(first == second);
    // The definition of the format must not drift: this hash is in no other place.
    let file_hash = blake3::hash(&first);
    assert_eq!(file_hash.to_hex().as_str(), "03b1d49b94ab482c64b92ba2cea8d6fd039c8a828c6519e44047870d27759de6");
}
