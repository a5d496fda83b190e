"""A disk that can lose its power: one file, `disk`, in a file system of this process, for a loop device to lie on.

It speaks the kernel's FUSE protocol, version 7.31 (linux/fuse.h), as far as a loop device asks. Every write is seen on its
own, and what no flush has followed may be lost in any part, as on a disk with a cache.
"""

import contextlib
import ctypes
import errno
import os
import random
import stat
import struct
import threading
import time

BLOCK = 4096
LARGEST = 128 << 10
ROOT, FILE = 1, 2
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 18, 20, 25, 26, 36, 38, 42
BIG_WRITES = 1 << 5

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Disk:
    """`on_event` is called after each write and flush, by the thread that serves."""

    def __init__(self, folder, size, on_event):
        self.folder, self.on_event = folder, on_event
        self.bytes = bytearray(size)
        self.stable = bytearray(size)
        self.unflushed = []
        self.path = os.path.join(folder, "disk")
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0".encode()
        check(libc.mount(b"power-cut", folder.encode(), b"fuse", 0, options))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def close(self):
        # The loop device may let go of its file a moment after it was unmounted.
        for _ in range(50):
            if libc.umount2(self.folder.encode(), 0) == 0:
                break
            time.sleep(0.1)
        else:
            check(libc.umount2(self.folder.encode(), 0))
        self.thread.join()

    def cut(self):
        """The bytes of the disk if the power went now: of what is not flushed all, nothing or any part is there."""
        image = bytearray(self.stable)
        kept = random.choice((0.0, 0.5, 1.0))
        for offset, data in self.unflushed:
            for at in range(0, len(data), BLOCK):
                if random.random() < kept:
                    image[offset + at : offset + at + BLOCK] = data[at : at + BLOCK]
        return image

    def serve(self):
        try:
            while True:
                request = os.read(self.fd, LARGEST + BLOCK)
                length, opcode, unique, node = struct.unpack_from("<IIQQ", request)
                answer = self.answer(opcode, node, request[40:length])
                if answer is not None:
                    code, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
                    # Unmounting does not wait for the answer to the last request, which is unknown then.
                    with contextlib.suppress(FileNotFoundError):
                        os.write(self.fd, struct.pack("<IiQ", 16 + len(body), code, unique) + body)
                if opcode in (WRITE, FSYNC):
                    self.on_event()
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        finally:
            # Without its server the mount fails at once, instead of hanging.
            os.close(self.fd)

    def answer(self, opcode, node, body):
        """The answer to a request: bytes, an errno, or None where none is due."""
        if opcode == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, LARGEST, BIG_WRITES, 12, 9, LARGEST, 1, 0, 0, 0)
        if opcode == LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                return errno.ENOENT
            return struct.pack("<QQQQII", FILE, 1, 3600, 3600, 0, 0) + self.attributes(FILE)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("<QII", 0, 0, 0)
        if opcode in (READ, WRITE):
            offset, length = struct.unpack_from("<QI", body, 8)
            if opcode == READ:
                return bytes(self.bytes[offset : offset + length])
            data = body[40 : 40 + length]
            self.bytes[offset : offset + length] = data
            self.unflushed.append((offset, data))
            return struct.pack("<II", length, 0)
        if opcode == FSYNC:
            for offset, data in self.unflushed:
                self.stable[offset : offset + len(data)] = data
            self.unflushed.clear()
            return b""
        if opcode in (FLUSH, RELEASE, DESTROY):
            return b""
        if opcode == STATFS:
            return struct.pack("<5Q4I24x", len(self.bytes) // BLOCK, 0, 0, 2, 0, BLOCK, 255, BLOCK, 0)
        return None if opcode in (FORGET, BATCH_FORGET, INTERRUPT) else errno.ENOSYS

    def attributes(self, node):
        size = len(self.bytes) if node == FILE else 0
        mode = stat.S_IFREG | 0o600 if node == FILE else stat.S_IFDIR | 0o755
        return struct.pack("<6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, BLOCK, 0)
