"""Writes src/tokenizer/unicode_tables.rs: the general categories L* and N*, White_Space, and the data of NFC.

usage: pip install unicodedata2==16.0.0
       npm install @unicode/unicode-9.0.0
       node -e "import('@unicode/unicode-9.0.0/General_Category/Unassigned/code-points.mjs')
                .then(m => console.log(JSON.stringify(m.default)))" > unassigned.json
       python tools/unicode/make_tables.py unassigned.json > src/tokenizer/unicode_tables.rs

The versions of Unicode are pinned. The classes are those of the regex crate (regex-syntax 0.8), and so of the patterns of
the `tokenizers` library. Its forms C and D are those of Unicode 9: characters that were assigned later stay as they are. What
was assigned keeps its decomposition and its combining class (Unicode's stability policy), so the data of 16.0.0 serve for both.
"""
import json
import sys
import unicodedata2 as ucd

VERSION = "16.0.0"
LAST = 0x10FFFF
WHITE_SPACE = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
OTHER, LETTER, NUMBER, SPACE = range(4)


def scalars():
    return (c for c in range(LAST + 1) if not 0xD800 <= c <= 0xDFFF)


def char_class(c):
    if c in WHITE_SPACE:
        return SPACE
    if 0xD800 <= c <= 0xDFFF:
        return OTHER
    return {"L": LETTER, "N": NUMBER}.get(ucd.category(chr(c))[0], OTHER)


def two_levels(values, per_block):
    """values -> (index of each block, distinct blocks of 2-bit values packed low bits first)."""
    blocks, index = [], []
    for start in range(0, len(values), per_block):
        part = values[start : start + per_block]
        packed = tuple(sum(v << (2 * i) for i, v in enumerate(part[j : j + 4])) for j in range(0, per_block, 4))
        if packed not in blocks:
            blocks.append(packed)
        index.append(blocks.index(packed))
    return index, blocks


def ranges(pairs):
    """sorted (code point, value) -> (first, last, value), neighbours of one value joined."""
    out = []
    for c, value in pairs:
        if out and out[-1][1] == c - 1 and out[-1][2] == value:
            out[-1][1] = c
        else:
            out.append([c, c, value])
    return out


def emit(doc, name, kind, items):
    print(f"\n/// {doc}\n#[rustfmt::skip]\npub(super) static {name}: [{kind}; {len(items)}] = [")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 118:
            print(line)
            line = "   "
        line += f" {item},"
    print(f"{line}\n];")


def main():
    assert ucd.unidata_version == VERSION, ucd.unidata_version
    classes = [char_class(c) for c in range(LAST + 1)]
    end = max(c for c in range(LAST + 1) if classes[c] != OTHER) + 1
    best = None
    for per_block in (32, 64, 128, 256):
        size = -(-end // per_block) * per_block
        index, blocks = two_levels(classes[:size], per_block)
        cost = len(index) + len(blocks) * per_block // 4
        if len(blocks) <= 256 and (best is None or cost < best[0]):
            best = (cost, per_block, index, blocks)
    cost, per_block, index, blocks = best

    with open(sys.argv[1]) as file:
        later = set(json.load(file))
    old = [c for c in scalars() if c not in later]
    decompositions, excluded = [], set()
    for c in old:
        parts = ucd.decomposition(chr(c))
        if parts and not parts.startswith("<"):
            first, *rest = (int(p, 16) for p in parts.split())
            assert len(rest) <= 1
            decompositions.append((c, first, rest[0] if rest else 0))
            if ucd.normalize("NFC", chr(c)) != chr(c):
                excluded.add(c)
    compose = sorted((i for i, d in enumerate(decompositions) if d[0] not in excluded), key=lambda i: decompositions[i][1:])
    classes_of_marks = ranges((c, ucd.combining(chr(c))) for c in old if ucd.combining(chr(c)))
    seconds = {decompositions[i][2] for i in compose} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    check = ranges((c, 1) for c in old if c in excluded or c in seconds or ucd.combining(chr(c)))

    out = sys.stdout
    out.write("//! Tables of Unicode 16.0.0 (classes) and 9.0.0 (forms C and D), written by tools/unicode/make_tables.py: do not edit.\n\n")
    out.write(f"/// Code points in a block of [`CLASS_BLOCKS`].\npub(super) const CLASS_BLOCK: usize = {per_block};\n")
    out.write(f"\n/// Code points from here on are of class 0. The two class tables take {cost} bytes.\n")
    out.write(f"pub(super) const CLASS_END: u32 = {len(index) * per_block:#x};\n")
    emit("The block of each run of [`CLASS_BLOCK`] code points.", "CLASS_INDEX", "u8", [str(i) for i in index])
    packed = [str(b) for block in blocks for b in block]
    emit("Classes, 2 bits each, low bits first: 0 other, 1 letter (L), 2 number (N), 3 White_Space.", "CLASS_BLOCKS", "u8", packed)
    emit("Canonical decompositions (character, first, second or 0), sorted; Hangul syllables are computed.",
         "DECOMPOSE", "[u32; 3]", ["[{:#x}, {:#x}, {:#x}]".format(*d) for d in decompositions])
    emit("Rows of [`DECOMPOSE`] that compose again, sorted by (first, second).", "COMPOSE", "u16", [str(i) for i in compose])
    emit("Canonical combining classes other than 0: (first, last, class).", "COMBINING", "[u32; 3]",
         ["[{:#x}, {:#x}, {}]".format(*r) for r in classes_of_marks])
    emit("Characters that may not stand in NFC, or may compose or move: (first, last).", "NFC_CHECK", "[u32; 2]",
         ["[{:#x}, {:#x}]".format(*r[:2]) for r in check])


main()
