//! The names of Python that stand in PyTorch's files, and what they mean. Any other name is refused: a pickle can ask for every
//! function that there is.

use whit::error::{Error, Result, printable};

use crate::source::encoding::Encoding;

/// A name that a tensor needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::source) enum Function {
    OrderedDict,
    /// Of a storage, an offset, a shape and strides.
    RebuildTensor,
    /// Of a tensor.
    RebuildParameter,
    Storage(StorageType),
}

impl Function {
    pub(in crate::source) fn name(self) -> &'static str {
        match self {
            Function::OrderedDict => "collections.OrderedDict",
            Function::RebuildTensor => "torch._utils._rebuild_tensor_v2",
            Function::RebuildParameter => "torch._utils._rebuild_parameter",
            Function::Storage(kind) => kind.dtype,
        }
    }
}

/// The type of the numbers of a storage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::source) struct StorageType {
    pub(in crate::source) dtype: &'static str,
    /// Bytes of a number.
    pub(in crate::source) width: u64,
    /// `None` where weights of it are not read.
    pub(in crate::source) encoding: Option<Encoding>,
}

/// The types by the beginnings of their names.
const STORAGES: [(&str, StorageType); 15] = [
    ("Float", kind("F32", 4, Some(Encoding::F32))),
    ("Half", kind("F16", 2, Some(Encoding::F16))),
    ("BFloat16", kind("BF16", 2, Some(Encoding::Bf16))),
    ("Double", kind("F64", 8, None)),
    ("Long", kind("I64", 8, None)),
    ("Int", kind("I32", 4, None)),
    ("Short", kind("I16", 2, None)),
    ("Char", kind("I8", 1, None)),
    ("Byte", kind("U8", 1, None)),
    ("Bool", kind("BOOL", 1, None)),
    ("ComplexFloat", kind("C64", 8, None)),
    ("ComplexDouble", kind("C128", 16, None)),
    ("QInt8", kind("QINT8", 1, None)),
    ("QUInt8", kind("QUINT8", 1, None)),
    ("QInt32", kind("QINT32", 4, None)),
];

const fn kind(dtype: &'static str, width: u64, encoding: Option<Encoding>) -> StorageType {
    StorageType { dtype, width, encoding }
}

/// The meaning of `module.name`.
pub(in crate::source) fn function(module: &str, name: &str) -> Result<Function> {
    let storage = name.strip_suffix("Storage").filter(|_| ["torch", "torch.cuda"].contains(&module));
    let storage = storage.and_then(|start| STORAGES.iter().find(|(known, _)| *known == start));
    match (module, name, storage) {
        (_, _, Some((_, kind))) => Ok(Function::Storage(*kind)),
        ("collections", "OrderedDict", _) => Ok(Function::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor", _) => Ok(Function::RebuildTensor),
        ("torch._utils", "_rebuild_parameter", _) => Ok(Function::RebuildParameter),
        _ => {
            let asked = printable(&format!("{module}.{name}"));
            let error = Error::data(format!("asks for {asked}, which is no part of a tensor: nothing is run"));
            Err(error.hint("save the state dict of the model alone, or the model as safetensors"))
        }
    }
}
