//! PyTorch's files: archives, pickles, tensors.

use super::{Case, Files, Scratch, case, caught, run, sweep};

/// The opcodes of a text.
fn text(text: &str) -> Vec<u8> {
    [&[b'X'][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn number(number: i32) -> Vec<u8> {
    [&[b'J'][..], &number.to_le_bytes()].concat()
}

fn numbers(of: &[i32]) -> Vec<u8> {
    [&[b'('][..], &of.iter().flat_map(|n| number(*n)).collect::<Vec<u8>>(), b"t"].concat()
}

/// The opcodes of a tensor of `kind` in the storage "0" of 64 elements.
fn tensor(kind: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    tensor_of(kind, "0", 64, offset, shape, strides)
}

fn tensor_of(kind: &str, key: &str, elements: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    out.extend(text("storage"));
    out.extend(format!("ctorch\n{kind}\n").bytes());
    out.extend(text(key));
    out.extend(text("cpu"));
    out.extend(number(elements));
    out.extend(b"tQ");
    out.extend(number(offset));
    out.extend(numbers(shape));
    out.extend(numbers(strides));
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    out
}

/// A pickle of a dictionary with the value `value` under "a".
fn pickle(value: &[u8]) -> Vec<u8> {
    [&b"\x80\x02}"[..], &text("a"), value, b"s."].concat()
}

fn good() -> Vec<u8> {
    pickle(&tensor("FloatStorage", 0, &[8, 8], &[8, 1]))
}

/// An archive of stored entries; of each its name, bytes, flags and method.
fn archive(entries: &[(&str, &[u8], u16, u16)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes, flags, method) in entries {
        let header = out.len() as u32;
        let mut shared = Vec::new();
        shared.extend([*flags, *method, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
        shared.extend([0, bytes.len() as u32, bytes.len() as u32].iter().flat_map(|n: &u32| n.to_le_bytes()));
        shared.extend([name.len() as u16, 0].iter().flat_map(|n: &u16| n.to_le_bytes()));
        out.extend(b"PK\x03\x04\0\0");
        out.extend(&shared);
        out.extend(name.bytes().chain(bytes.iter().copied()));
        directory.extend(b"PK\x01\x02\0\0\0\0");
        directory.extend(&shared);
        directory.extend([0; 10]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.bytes());
    }
    let start = out.len() as u32;
    let n = (entries.len() as u16).to_le_bytes();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([n, n].concat());
    out.extend([directory.len() as u32, start].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([0, 0]);
    out
}

/// An archive of a pickle and of the storage "0".
fn zipped(pickle: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", pickle, 0, 0), ("m/data/0", &[0; 256], 0, 0)])
}

fn files(weights: Vec<u8>) -> Files {
    // A directory, as no name ends as that of a file that is opened by itself.
    vec![("config.json", super::config::LLAMA.into()), ("weights.pth", weights)]
}

fn row(name: &'static str, weights: Vec<u8>, expected: &'static str, field: &'static str) -> Case {
    case(name, files(weights), expected, field)
}

fn of(name: &'static str, value: &[u8], expected: &'static str, field: &'static str) -> Case {
    row(name, zipped(&pickle(value)), expected, field)
}

#[test]
fn archives() {
    let (good, storage) = (good(), [0; 256]);
    let of = |flags, method| archive(&[("m/data.pkl", &good, flags, method), ("m/data/0", &storage, 0, 0)]);
    let whole = zipped(&good);
    let with =
        |name, bytes: &[u8]| archive(&[("m/data.pkl", &good, 0, 0), ("m/data/0", &storage, 0, 0), (name, bytes, 0, 0)]);
    let mut long = whole.clone();
    let at = long.windows(4).rposition(|w| w == b"PK\x01\x02").expect("an entry");
    long[at + 20..at + 28].copy_from_slice(&[0, 0, 1, 0, 0, 0, 1, 0]);
    run(vec![
        row("P-01 cut short", whole[..whole.len() - 1].to_vec(), "cut short", "ZIP"),
        row("P-01 without a directory", whole[..whole.len() / 2].to_vec(), "cut short", "ZIP"),
        row("P-01 an entry past the end", long, "longer than the archive", "m/data/0"),
        row("P-01 no pickle", archive(&[("m/x", b"x", 0, 0)]), "without data.pkl", "ZIP"),
        row("P-01 an entry twice", with("m/data/0", b"x"), "twice", "ZIP"),
        row("P-02 compressed", of(0, 8), "is compressed", "m/data.pkl"),
        row("P-02 encrypted", of(1, 0), "is encrypted", "m/data.pkl"),
        row("P-02 a program", with("m/constants.pkl", b"x"), "TorchScript", "ZIP"),
        row("P-02 big-endian", with("m/byteorder", b"big"), "big-endian", "byteorder"),
    ]);
}

/// What was to be run, as everybody knows it, and what training programs leave behind.
#[test]
fn what_asks_for_anything_else_is_refused_by_its_name() {
    let call = |function: &str| [format!("c{function}\n").as_bytes(), b"(", &text("id"), b"tR"].concat();
    let stacked = [text("os"), text("system"), b"\x93(".to_vec(), text("id"), b"tR".to_vec()].concat();
    run(vec![
        of("P-03 os.system", &call("os\nsystem"), "asks for os.system", "pickle"),
        of("P-03 os.system of protocol 4", &stacked, "asks for os.system", "pickle"),
        of("P-03 eval", &call("builtins\neval"), "which is no part of a tensor: nothing is run", "pickle"),
        of("P-03 a namespace", &call("argparse\nNamespace"), "asks for argparse.Namespace", "pickle"),
        of("P-03 torch.load", &call("torch\nload"), "asks for torch.load", "pickle"),
        of("P-03 a name with escapes", &call("a\x1b[2J\nb"), "asks for a", "pickle"),
        of("P-03 a storage that is called", &call("torch\nFloatStorage"), "of other arguments", "pickle"),
        of("P-03 a new object", b"ccollections\nOrderedDict\n)\x81", "opcode 0x81", "pickle"),
        of("P-03 an instance", b"(ios\nsystem\n", "opcode 0x69", "pickle"),
        of("P-03 an extension", b"\x82\x01", "opcode 0x82", "pickle"),
    ]);
}

#[test]
fn pickles() {
    run(vec![
        row("P-05 empty", zipped(b"\x80\x02"), "1 bytes needed", "pickle"),
        row("P-05 no value", zipped(b"\x80\x02."), "a value is missing", "pickle"),
        row("P-05 protocol 0", zipped(b"(dp0\n."), "opcode 0x64", "pickle"),
        row("P-05 protocol 9", zipped(b"\x80\x09N."), "protocol 9", "pickle"),
        row("P-05 a mark too few", zipped(b"\x80\x02}u."), "a mark is missing", "pickle"),
        row("P-05 a value beyond the mark", zipped(b"\x80\x02}(\x85."), "a value is missing", "pickle"),
        row("P-05 a key without value", zipped(b"\x80\x02}(Nu."), "a key without its value", "pickle"),
        row("P-05 pairs into a list", zipped(b"\x80\x02](NNu."), "a dictionary should be", "pickle"),
        row("P-05 nothing kept", zipped(b"\x80\x02h\x07."), "nothing was kept as 7", "pickle"),
        row("P-05 a text past the end", zipped(b"\x80\x02X\xff\xff\xff\xffa."), "bytes needed", "pickle"),
        row(
            "P-05 a number of 255 bytes",
            zipped(&[&b"\x80\x02\x8a\xff"[..], &[1; 255], b"."].concat()),
            "255 bytes",
            "",
        ),
        row("P-06 no dictionary", zipped(b"\x80\x02K\x05."), "no state dict", "state dict"),
        row("P-06 no tensors", zipped(&pickle(&number(5))), "no tensors among a", "state dict"),
        row("P-06 a module", zipped(b"\x80\x02N."), "save the state dict", "state dict"),
    ]);
}

#[test]
fn tensors() {
    let a = "tensor \"a\"";
    let float = |offset, shape: &[i32], strides: &[i32]| tensor("FloatStorage", offset, shape, strides);
    run(vec![
        of("P-07 past the end", &float(1, &[8, 8], &[8, 1]), "outside of a storage of 64", a),
        of("P-07 far past the end", &float(0, &[8, 8], &[i32::MAX, 1]), "outside of a storage", a),
        of("P-07 one number many times", &float(0, &[1 << 20, 1 << 10], &[0, 0]), "take elements twice", a),
        of("P-07 rows that overlap", &float(0, &[8, 8], &[4, 1]), "take elements twice", a),
        of("P-07 a negative offset", &float(-1, &[8], &[1]), "without offset, shape or strides", "pickle"),
        of("P-07 a negative stride", &float(7, &[8], &[-1]), "without offset, shape or strides", "pickle"),
        of("P-07 strides of another rank", &float(0, &[8, 8], &[1]), "without offset, shape or strides", "pickle"),
        of("P-07 no dimensions", &float(0, &[], &[]), "0 dimensions", a),
        of("P-07 a dimension of 0", &float(0, &[0, 8], &[8, 1]), "a dimension of 0", a),
        of("P-08 no storage", &tensor_of("FloatStorage", "7", 64, 0, &[8], &[1]), "storage 7 of 64", a),
        of("P-08 a storage cut", &tensor_of("FloatStorage", "0", 65, 0, &[8], &[1]), "is of 256 bytes", a),
        of("P-08 a storage outside", &tensor_of("FloatStorage", "../0", 64, 0, &[8], &[1]), "missing", a),
        of("P-08 F64", &tensor_of("DoubleStorage", "0", 32, 0, &[8], &[1]), "supported: F32", a),
        of("P-08 I64", &tensor_of("LongStorage", "0", 32, 0, &[8], &[1]), "I64 are not supported", a),
        of("P-08 a number that is no storage", b"NQ", "no storage", "pickle"),
    ]);
}

/// A million values within one another take no stack, neither when they are made nor when they go.
#[test]
fn depth_is_no_danger() {
    let deep = |open: &[u8], close: &[u8]| [b"\x80\x02".to_vec(), open.repeat(1 << 20), close.repeat(1 << 20)].concat();
    let tuples = [&b"\x80\x02)"[..], &b"\x85".repeat(1 << 20), b"."].concat();
    let lists = [deep(b"]", b""), b"a".repeat((1 << 20) - 1), b".".to_vec()].concat();
    run(vec![
        row("P-09 tuples", zipped(&tuples), "no state dict", "state dict"),
        row("P-09 lists", zipped(&lists), "no state dict", "state dict"),
        row("P-09 marks", zipped(&deep(b"(", b"t")), "1 bytes needed", "pickle"),
        row(
            "P-09 values without end",
            zipped(&[&b"\x80\x02"[..], &b"N0".repeat(3 << 20)].concat()),
            "4194304 opcodes",
            "pickle",
        ),
        row("P-09 a list of itself", zipped(b"\x80\x02]q\0h\0a."), "no state dict", "state dict"),
    ]);
}

fn legacy() -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let system = [&b"\x80\x02}"[..], &text("little_endian"), b"\x88s."].concat();
    let keys = [&b"\x80\x02]"[..], &text("0"), b"a."].concat();
    [&magic[..], b"\x80\x02M\xe9\x03.", &system, &good(), &keys, &64_u64.to_le_bytes(), &[0; 256]].concat()
}

#[test]
fn the_older_form() {
    let whole = legacy();
    let changed = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).position(|w| w == from).expect("there");
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    };
    run(vec![
        row("P-10 cut", whole[..whole.len() - 1].to_vec(), "cut short", "pickle"),
        row("P-10 cut before the storages", whole[..whole.len() - 264].to_vec(), "cut short", "pickle"),
        row("P-10 another version", changed(b"M\xe9\x03", b"M\xea\x03"), "not 1001", "pickle"),
        row("P-10 big-endian", changed(b"\x88s.", b"\x89s."), "big-endian", "byteorder"),
        row("P-10 2^63 elements", changed(&64_u64.to_le_bytes(), &(1_u64 << 63).to_le_bytes()), "cut short", "pickle"),
        row("P-10 only a pickle", b"\x80\x02}q\0.".to_vec(), "neither PyTorch's", "magic"),
    ]);
}

#[test]
fn no_byte_panics() {
    let zipped = zipped(&good());
    for (name, whole) in [("ZIP", zipped), ("older form", legacy())] {
        let length = whole.len();
        sweep(name, &files(whole), "weights.pth", length);
    }
}

/// Archives beyond 4 GiB have the numbers of the directory a second time, in 64 bits.
#[test]
fn both_forms_of_a_directory_are_read() {
    let plain = zipped(&good());
    let end = plain.len() - 22;
    let (entries, start) = (2_u64, u32::from_le_bytes(plain[end + 16..end + 20].try_into().expect("4")) as u64);
    let mut wide = plain[..start as usize].to_vec();
    let mut directory = &plain[start as usize..end];
    let mut of_directory = Vec::new();
    while !directory.is_empty() {
        let n = usize::from(u16::from_le_bytes([directory[28], directory[29]]));
        let mut entry = directory[..46].to_vec();
        let size = u64::from(u32::from_le_bytes(entry[20..24].try_into().expect("4")));
        let header = u64::from(u32::from_le_bytes(entry[42..46].try_into().expect("4")));
        entry[20..28].fill(0xff);
        entry[42..46].fill(0xff);
        entry[30] = 28 + 6;
        of_directory.extend(entry);
        of_directory.extend(&directory[46..46 + n]);
        of_directory.extend(b"xx\x02\0ab\x01\0\x18\0");
        of_directory.extend([size, size, header].iter().flat_map(|n| n.to_le_bytes()));
        directory = &directory[46 + n..];
    }
    wide.extend(&of_directory);
    let at = wide.len() as u64;
    wide.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    wide.extend([entries, entries, of_directory.len() as u64, start].iter().flat_map(|n| n.to_le_bytes()));
    wide.extend(b"PK\x06\x07\0\0\0\0");
    wide.extend(at.to_le_bytes());
    wide.extend([1, 0, 0, 0]);
    wide.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    for bytes in [plain, wide.clone()] {
        let scratch = Scratch::new();
        let source = caught("Zip64", &scratch.write(&files(bytes))).expect("an archive");
        assert_eq!((source.tensors.len(), &source.tensors[0].shape[..]), (1, &[8, 8][..]));
    }
    let length = wide.len();
    sweep("Zip64", &files(wide), "weights.pth", length);
}
