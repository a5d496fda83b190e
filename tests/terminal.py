"""Talks with whit at a terminal of its own, types while it replies, and looks at the terminal's modes.

Usage: terminal.py MODEL WHIT..., the words that start the program last.
"""

import os
import pty
import signal
import sys
import termios
import time

PATIENCE = 30


class Terminal:
    """A program with a terminal."""

    def __init__(self, words):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execvp(words[0], words)
        os.set_blocking(self.master, False)
        self.said = b""
        self.status = None

    def until(self, what):
        """Reads until `what()` is true."""
        end = time.monotonic() + PATIENCE
        while not what():
            if time.monotonic() > end:
                sys.exit(f"nothing came of it: {self.said[-400:]!r}")
            try:
                self.said += os.read(self.master, 4096)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                time.sleep(0.01)

    def shows_typing(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def type(self, text):
        os.write(self.master, text)

    def has_ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def end(self):
        """Waits for the end of the program; its exit code."""
        self.until(self.has_ended)
        return os.waitstatus_to_exitcode(self.status)

    def check(self, holds, what):
        if not holds:
            sys.exit(f"{what}: {self.said[-400:]!r}")


def typed_ahead(chat):
    """What is typed during a reply is not shown, and stands at the next prompt."""
    terminal = Terminal(chat)
    terminal.until(lambda: b"> " in terminal.said)
    terminal.type(b"hello\r")
    terminal.until(lambda: not terminal.shows_typing() and len(terminal.said) > 400)
    begun = len(terminal.said)
    terminal.type(b"QQQQ")
    terminal.until(lambda: len(terminal.said) > begun + 200)
    terminal.check(b"QQQQ" not in terminal.said, "what is typed lands in the text")
    os.kill(terminal.pid, signal.SIGINT)
    terminal.until(lambda: b"stopped" in terminal.said)
    terminal.until(lambda: b"QQQQ" in terminal.said.split(b"stopped")[1])
    terminal.type(b"\x15/quit\r")
    terminal.check(terminal.end() == 0, "no plain end")


def ended_at_once(chat):
    """The second Ctrl-C ends the program: the terminal is as it was before."""
    terminal = Terminal([*chat, "hello"])
    terminal.until(lambda: not terminal.shows_typing() and len(terminal.said) > 20)
    os.kill(terminal.pid, signal.SIGINT)
    os.kill(terminal.pid, signal.SIGINT)
    code = terminal.end()
    terminal.check(code == 130, f"exit code {code}")
    terminal.check(terminal.shows_typing(), "typing stays hidden")


def main():
    model, *whit = sys.argv[1:]
    chat = [*whit, "chat", "-m", model, "-s", "7", "--temp", "0", "-t", "1"]
    typed_ahead(chat)
    ended_at_once(chat)


main()
