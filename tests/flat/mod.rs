//! A small valid file, and a place to put files.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use whit::Result;
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{FileKind, Provenance, SectionId, SourceRecord, TensorErrors};
use whit::quant::Dtype;

/// A directory of the test called `name`, removed when dropped.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("whit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("temporary directory");
        Directory(path)
    }

    /// Names of all files in it, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn plan(name: &str, dtype: Dtype, dims: &[u64]) -> TensorPlan {
    TensorPlan { name: name.into(), dtype, dims: dims.to_vec() }
}

/// One tensor of each dtype; the vectors leave gaps behind them.
pub(crate) fn tensors() -> Vec<TensorPlan> {
    vec![
        plan("embedding", Dtype::Int8, &[17, 33]),
        plan("norm", Dtype::F32, &[5]),
        plan("up", Dtype::F16, &[3, 7]),
        plan("Norm", Dtype::F32, &[3]),
        plan("down", Dtype::F32, &[2, 3]),
        plan("bias", Dtype::F32, &[1]),
    ]
}

pub(crate) fn sections() -> Vec<(SectionId, Vec<u8>)> {
    let source = SourceRecord { name: "model.safetensors".into(), bytes: 1234, hash: [9; 32] };
    let provenance =
        Provenance { converter: "quantize 0.1.0".into(), source_format: "safetensors".into(), sources: vec![source] };
    vec![
        (SectionId::TOKN, (0..=255).collect()),
        (SectionId::CONF, b"configuration".to_vec()),
        (SectionId::LICE, "Do as you like — ©".as_bytes().to_vec()),
        (SectionId::PROV, provenance.encode().expect("valid")),
        (SectionId::TMPL, b"{{ messages }}".to_vec()),
        (SectionId::GENR, vec![1, 2, 3]),
    ]
}

/// The byte at `offset` of tensor `index`: anything that is a finite f32.
pub(crate) fn weight(index: usize, offset: u64) -> u8 {
    match offset % 4 {
        3 => 0x3f,
        n => (index as u64 * 31 + offset / 4 + n) as u8,
    }
}

/// Writes all tensors of `writer` in steps of `step` bytes.
pub(crate) fn write_tensors(writer: &mut Writer, step: usize) -> Result<()> {
    for index in 0.. {
        let Some(bytes) = writer.tensor_bytes(index) else { break };
        let data: Vec<u8> = (0..bytes).map(|offset| weight(index, offset)).collect();
        for part in data.chunks(step) {
            writer.write(part)?;
        }
        writer.finish_tensor(TensorErrors { rms: 0.25, max: 0.5, signal_rms: index as f32 })?;
    }
    Ok(())
}

/// Writes the small file to `path`.
pub(crate) fn write(path: &std::path::Path, force: bool, step: usize) -> Result<()> {
    let mut writer = Writer::create(path, FileKind::LanguageModel, sections(), tensors(), force)?;
    write_tensors(&mut writer, step)?;
    writer.finish()
}

/// The bytes of the small file.
pub(crate) fn bytes(test: &str) -> Vec<u8> {
    let directory = Directory::new(test);
    let path = directory.0.join("small.whit");
    write(&path, false, 1000).expect("valid file");
    std::fs::read(&path).expect("written")
}
