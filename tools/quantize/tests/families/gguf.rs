//! The checkpoint of a fixture as a GGUF file, as llama.cpp's converter writes it.

use serde_json::Value;

use crate::fixture::Fixture;
use crate::support::gguf::{self, Pair, Tensor, text};

/// Elements of a tensor, and its dimensions, outermost first.
struct Elements {
    shape: Vec<u64>,
    values: Vec<f32>,
}

impl Elements {
    /// Rows of the matrices, and elements of a row; of vectors a row has one.
    fn rows(&self) -> (usize, usize) {
        let cols = if self.shape.len() > 1 { self.shape[self.shape.len() - 1] as usize } else { 1 };
        (self.values.len() / cols, cols)
    }

    /// The rows in another order, or some of them.
    fn pick(&self, rows: impl Iterator<Item = usize>) -> Vec<f32> {
        let (_, cols) = self.rows();
        rows.flat_map(|row| &self.values[row * cols..][..cols]).copied().collect()
    }

    /// The tensor after what is done to it, by the words of the fixtures.
    fn changed(self, what: &str, argument: &Value) -> Elements {
        let (rows, _) = self.rows();
        let number = || argument.as_u64().expect("a number") as usize;
        match what {
            "permute" => {
                let width = rows / number();
                let row = |i: usize| i / width * width + i % width / 2 + i % 2 * (width / 2);
                Elements { values: self.pick((0..rows).map(row)), shape: self.shape }
            }
            "plus one" => Elements { values: self.values.iter().map(|v| v + 1.0).collect(), shape: self.shape },
            "squeeze" => Elements { shape: self.shape.into_iter().filter(|n| *n != 1).collect(), values: self.values },
            "half" => {
                let (mut shape, second) = (self.shape.clone(), number());
                let place = shape.len() - 2;
                let (both, one) = (shape[place] as usize, shape[place] as usize / 2);
                shape[place] = one as u64;
                let values = self.pick((0..rows).filter(|row| row % both / one == second));
                Elements { shape, values }
            }
            "thirds" => {
                let (heads, width) = (number(), rows / number() / 3);
                let place = |third, head| (0..width).map(move |i| (head * 3 + third) * width + i);
                let order = (0..3).flat_map(|third| (0..heads).flat_map(move |head| place(third, head)));
                Elements { values: self.pick(order), shape: self.shape }
            }
            "tiled" => {
                let order = tiled(rows, argument);
                Elements { values: self.pick(order.into_iter()), shape: self.shape }
            }
            "tiled columns" => {
                let order = tiled(self.rows().1, argument);
                let row = |row: &[f32]| order.iter().map(|i| row[*i]).collect::<Vec<_>>();
                Elements { values: self.values.chunks_exact(order.len()).flat_map(row).collect(), shape: self.shape }
            }
            "times" => {
                let (factors, cols) = (argument.as_array().expect("factors"), self.rows().1);
                let repeated = |pair: &Value| {
                    let rows = pair[0].as_u64().expect("rows") as usize;
                    std::iter::repeat_n(pair[1].as_f64().expect("a factor") as f32, rows * cols)
                };
                let factors = factors.iter().flat_map(repeated);
                Elements { values: self.values.iter().zip(factors).map(|(v, f)| v * f).collect(), shape: self.shape }
            }
            "negative exp" => Elements { values: self.values.iter().map(|v| -v.exp()).collect(), shape: self.shape },
            "shape" => {
                let dims = argument.as_array().expect("dimensions").iter().map(|n| n.as_u64().expect("a size"));
                Elements { shape: dims.collect(), values: self.values }
            }
            "values" => {
                let values = crate::support::floats(argument);
                Elements { shape: vec![values.len() as u64], values }
            }
            "stack" => self,
            other => panic!("{other}: no such change"),
        }
    }
}

/// The order of `n` rows or columns of which those from a first one on are groups of heads: one head of each group, then the next.
fn tiled(n: usize, argument: &Value) -> Vec<usize> {
    let number = |i: usize| argument[i].as_u64().expect("a number") as usize;
    let (first, groups, heads, width) = (number(0), number(1), number(2), number(3));
    let place = |i: usize| {
        let (head, group) = (i / width / groups, i / width % groups);
        first + (group * heads + head) * width + i % width
    };
    (0..first).chain((0..n - first).map(place)).collect()
}

/// A tensor of the file: its name and its elements.
fn tensor(fixture: &Fixture, entry: &Value) -> (String, Elements) {
    let of = |name: &Value| {
        let found = fixture.tensors.iter().find(|tensor| *name == *tensor.name);
        found.unwrap_or_else(|| panic!("{name}: no such tensor"))
    };
    let elements = match &entry[1] {
        Value::Array(names) => {
            let stacked: Vec<_> = names.iter().map(of).collect();
            let mut shape = vec![stacked.len() as u64];
            shape.extend(stacked.first().into_iter().flat_map(|tensor| &tensor.shape));
            Elements { shape, values: stacked.iter().flat_map(|tensor| tensor.values()).collect() }
        }
        name => Elements { shape: of(name).shape.clone(), values: of(name).values() },
    };
    let entry = entry.as_array().expect("a tensor");
    let steps = entry[2..].chunks_exact(2);
    let changed = steps.fold(elements, |elements, step| elements.changed(step[0].as_str().expect("words"), &step[1]));
    (entry[0].as_str().expect("a name").to_string(), changed)
}

/// The number of a value's type, and its bytes.
fn value(value: &Value) -> (u32, Vec<u8>) {
    match value {
        Value::Bool(yes) => (7, vec![u8::from(*yes)]),
        Value::String(s) => (8, text(s)),
        Value::Number(n) => match n.as_u64() {
            Some(n) => (4, (n as u32).to_le_bytes().to_vec()),
            None => (6, (n.as_f64().expect("a number") as f32).to_le_bytes().to_vec()),
        },
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(self::value).collect();
            let head = [&items[0].0.to_le_bytes()[..], &(items.len() as u64).to_le_bytes()].concat();
            (9, [head, items.into_iter().flat_map(|(_, bytes)| bytes).collect()].concat())
        }
        other => panic!("{other}: no value of a key"),
    }
}

/// The bytes of the file, all tensors being F32; `None` where llama.cpp does not know the family.
pub(crate) fn file(fixture: &Fixture) -> Option<Vec<u8>> {
    let described = fixture.gguf.as_ref()?;
    let mut keys = described["keys"].as_object().expect("keys").clone();
    keys.insert("tokenizer.ggml.model".into(), "no_vocab".into());
    let pairs = keys.iter().map(|(key, entry)| {
        let (kind, bytes) = value(entry);
        Pair { key: key.clone(), kind, bytes }
    });
    let tensors = described["tensors"].as_array().expect("tensors").iter().map(|entry| {
        let (name, Elements { shape, values }) = tensor(fixture, entry);
        Tensor::floats(name, shape, &values)
    });
    Some(gguf::file(&pairs.collect::<Vec<_>>(), &tensors.collect::<Vec<_>>()))
}
