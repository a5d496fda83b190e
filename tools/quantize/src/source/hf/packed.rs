//! Weights of three values as transformers packs them: a byte has a code of 2 bits, the value plus 1, of each quarter of the rows, and
//! beside the matrix lies its scale.

use whit::error::{Error, Result, printable};

use super::weights::Weights;
use crate::source::encoding::Encoding;
use crate::source::json::Value;
use crate::source::source_file::SourceFile;
use crate::source::tensor::Location;

/// What the scale beside a matrix does to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Scaling {
    /// They are divided by it, in models of the class `bitlinear`.
    Divides,
    /// They are multiplied by it, in those of `autobitlinear`.
    Multiplies,
}

/// The field of config.json that says how weights are packed.
const CONFIG: &str = "quantization_config";
/// What stands behind the name of a module.
const WEIGHT: &str = ".weight";
const SCALE: &str = ".weight_scale";

/// How the weights of the model that `object` describes are packed; `None` where they are not. Other packings are refused.
pub(in crate::source) fn scaling(object: Value<'_>) -> Result<Option<Scaling>> {
    let Some(value) = object.set(CONFIG) else { return Ok(None) };
    let text = |key: &str| value.set(key).and_then(|text| text.str(key).ok());
    let method = text("quant_method");
    if method.as_deref() != Some("bitnet") {
        let method = method.map_or("".into(), |method| format!(" ({})", printable(&method)));
        let error = value.error(format!("already quantized{method}: not supported"), CONFIG);
        return Err(error.hint("convert the original f32, f16 or bf16 checkpoint"));
    }
    if text("quantization_mode").as_deref().unwrap_or("offline") != "offline" {
        let error = value.error("weights that are rounded to three values when they are used: not supported", CONFIG);
        return Err(error.hint("convert the checkpoint whose weights are packed"));
    }
    if let Some(norms) = value.set("use_rms_norm")
        && !norms.is_off()
    {
        let error = value.error("norms before all matrices are not supported", CONFIG);
        return Err(error.hint("models that were published have use_rms_norm false"));
    }
    match text("linear_class").as_deref().unwrap_or("bitlinear") {
        "bitlinear" => Ok(Some(Scaling::Divides)),
        "autobitlinear" => Ok(Some(Scaling::Multiplies)),
        other => {
            let error = value.error(format!("linear_class \"{}\" is not supported", printable(other)), CONFIG);
            Err(error.hint("supported: bitlinear, autobitlinear"))
        }
    }
}

/// Gives matrices the scales that lie beside them, which are left out then. Packed ones have to have one.
pub(in crate::source) fn scale(weights: &mut Weights, files: &[SourceFile], scaling: Scaling) -> Result<()> {
    let (tensors, locations) = weights;
    for i in 0..tensors.len() {
        let Some(module) = tensors[i].name.strip_suffix(SCALE) else { continue };
        let name = format!("{module}{WEIGHT}");
        let Some(matrix) = tensors.iter().position(|tensor| tensor.name == name) else { continue };
        let scale = value(files, locations[i], tensors[i].elements(), &tensors[i].name)?;
        locations[matrix].factor = match scaling {
            Scaling::Divides => 1.0 / scale,
            Scaling::Multiplies => scale,
        };
    }
    let scaled = |name: &str| tensors.iter().any(|tensor| tensor.name.strip_suffix(SCALE) == Some(name));
    let without = tensors.iter().zip(&*locations).find(|(tensor, location)| {
        location.encoding == Encoding::Packed && !tensor.name.strip_suffix(WEIGHT).is_some_and(scaled)
    });
    if let Some((tensor, location)) = without {
        let error = Error::data("packed, without its scale").field(format!("tensor \"{}\"", tensor.name));
        let error = error.at(location.offset).hint("weight_scale lies beside it in whole checkpoints: copy it again");
        return Err(files[location.file].error(error));
    }
    let named: Vec<_> = tensors.iter().map(|tensor| tensor.name.clone()).collect();
    let used = |name: &str| name.strip_suffix(SCALE).is_some_and(|module| named.contains(&format!("{module}{WEIGHT}")));
    let mut kept = named.iter().map(|name| !used(name));
    tensors.retain(|_| kept.next() == Some(true));
    let mut kept = named.iter().map(|name| !used(name));
    locations.retain(|_| kept.next() == Some(true));
    Ok(())
}

/// The one value of a scale.
fn value(files: &[SourceFile], location: Location, elements: u64, name: &str) -> Result<f32> {
    let Location { file, offset, bytes, encoding, .. } = location;
    let error = |message: String| {
        let error = Error::data(message).field(format!("tensor \"{name}\"")).at(offset);
        files[file].error(error.hint("a scale is one positive number, of F32, F16 or BF16"))
    };
    if elements != 1 || encoding == Encoding::Packed {
        return Err(error(format!("{elements} x {}", encoding.name())));
    }
    let data = files[file].map.get(offset as usize..(offset + bytes) as usize);
    let mut scale = [0.0];
    encoding.decode(data.ok_or_else(|| error("ends past the end of the file".into()))?, 0, &mut scale);
    let [scale] = scale;
    if scale.is_normal() && scale > 0.0 && (1.0 / scale).is_normal() {
        Ok(scale)
    } else {
        Err(error(format!("{scale}")))
    }
}
