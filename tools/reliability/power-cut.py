#!/usr/bin/env python3
"""Cuts the power of a disk while `quantize --force` replaces a model on it again and again, and looks at what is left.

Needs root, /dev/fuse, loop devices and mkfs.ext4. The disk (disk.py) is an ext4 file system on a loop device; each image
of it is what a disk with a cache would hold after a power cut: of the writes that no flush has followed all, none or
some are there. Each is mounted, which replays its journal, and the target is compared with what the conversions
give: it must be the file of the last one that had ended or of the one under way, and absent only before the first.

With --control the file is replaced by plain write and rename, without fsync: damage must be found.
"""

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from disk import Disk

ROOT = Path(__file__).resolve().parents[2]
DISK_BYTES = 24 << 20
# One commit a second: what is not made durable on purpose gets there by itself, and soon.
MOUNTS = ("commit=1", "commit=1,noauto_da_alloc", "commit=1,data=writeback,noauto_da_alloc")
# Three files, so that the one before the last can be distinguished from the next.
VARIANTS = ("int8", "fp16", "f32")
# Writes and flushes between two images, at most.
APART = 30
MAX_SECONDS = 600


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def mounted(image, folder, options):
    run("mount", "-t", "ext4", "-o", "loop," + options, image, folder)
    try:
        yield
    finally:
        run("umount", folder)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Cutter:
    """Takes images of a disk at random writes and flushes."""

    def __init__(self, folder, wanted):
        self.folder, self.wanted = folder, wanted
        self.disk = None
        self.completed = 0
        self.images = []
        self.left = None

    def start(self):
        self.left = random.randint(1, APART)

    def event(self):
        if self.left is None or len(self.images) == self.wanted:
            return
        self.left -= 1
        if self.left == 0:
            path = self.folder / f"{len(self.images)}.img"
            path.write_bytes(self.disk.cut())
            self.images.append((path, self.completed))
            self.start()


def replace_safely(quantize, model, variant, _, target):
    run(quantize, model, "-o", target, "--weights", variant, "--effort", "fast", "--force", "--quiet")


def replace_plainly(_quantize, _model, _variant, new, target):
    partial = target.with_suffix(".partial")
    partial.write_bytes(new)
    partial.rename(target)
    time.sleep(0.05)


def work(cutter, folder, options, replace):
    """Replaces the target, file after file, until there are images enough."""
    deadline = time.monotonic() + MAX_SECONDS
    with mounted(cutter.disk.path, folder, options):
        os.sync()
        cutter.start()
        while len(cutter.images) < cutter.wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(cutter.images)} of {cutter.wanted} images after {MAX_SECONDS} s")
            replace(cutter.completed, folder / "model.whit")
            cutter.completed += 1
        cutter.left = None


def classify(image, completed, hashes, folder):
    """What the target is in an image that was taken when `completed` conversions had ended."""
    with mounted(image, folder, "rw"):
        target = folder / "model.whit"
        found = digest(target) if target.exists() else None
    old = hashes[(completed - 1) % len(hashes)] if completed else None
    if found == hashes[completed % len(hashes)]:
        return "new"
    if found == old:
        return "old" if completed else "absent"
    return "outdated" if found in hashes else "lost" if found is None else "damaged"


def cut(options, wanted, hashes, replace, scratch):
    """Takes `wanted` images of a disk mounted with `options`; how many targets are what."""
    folders = [scratch / name for name in ("disk", "mount", "images")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    cutter = Cutter(folders[2], wanted)
    cutter.disk = Disk(str(folders[0]), DISK_BYTES, cutter.event)
    try:
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", cutter.disk.path)
        work(cutter, folders[1], options, replace)
    finally:
        cutter.disk.close()
    found = {}
    for image, completed in cutter.images:
        what = classify(image, completed, hashes, folders[1])
        found[what] = found.get(what, 0) + 1
        image.unlink()
    counts = ", ".join(f"{n} {what}" for what, n in sorted(found.items()))
    print(f"power-cut: {options}: {len(cutter.images)} images of {cutter.completed} replacements: {counts}")
    return found


def main():
    parser = argparse.ArgumentParser(description="Cuts the power of a disk while quantize writes to it.")
    parser.add_argument("--quantize", type=Path, default=ROOT / "target/release/quantize")
    parser.add_argument("--model", type=Path, default=ROOT / "tests/fixtures/llama", help="what is converted")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--control", action="store_true", help="plain write and rename instead: must be caught")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="whit-power-cut-") as name:
        scratch = Path(name)
        files = []
        for variant in VARIANTS:
            path = scratch / variant
            replace_safely(arguments.quantize, arguments.model, variant, None, path)
            files.append(path.read_bytes())
        hashes = [hashlib.sha256(data).hexdigest() for data in files]
        assert len(set(hashes)) == len(VARIANTS)
        write = replace_plainly if arguments.control else replace_safely

        def replace(number, target):
            index = number % len(VARIANTS)
            write(arguments.quantize, arguments.model, VARIANTS[index], files[index], target)

        total = {}
        for index, options in enumerate(MOUNTS):
            wanted = (arguments.images + index) // len(MOUNTS)
            for what, n in cut(options, wanted, hashes, replace, scratch).items():
                total[what] = total.get(what, 0) + n
    bad = sum(total.get(what, 0) for what in ("damaged", "lost", "outdated"))
    whole = sum(total.get(what, 0) for what in ("old", "new", "absent"))
    who = "plain write and rename" if arguments.control else "quantize"
    print(f"power-cut: {who}: {whole + bad} images: {whole} whole, {bad} not")
    return 0 if (total.get("damaged", 0) > 0 if arguments.control else bad == 0) else 1


if __name__ == "__main__":
    sys.exit(main())
