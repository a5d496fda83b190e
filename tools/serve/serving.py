"""What the scripts of this folder share: a server that they start, and requests to it. Nothing but Python's own library."""
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

# Of a model that has none of its own; with the marks of a family of calls.
TEMPLATE = ("{% for t in tools or [] %}<tool_call>{{ t['function']['name'] }}</tool_call>\n{% endfor %}"
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}")
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1000, "MB": 10**6, "GB": 10**9}


class Server:
    """`whit serve` with `words`, at a port that is free or this one; `wrap` comes before its command line."""

    def __init__(self, whit, words=(), wrap=(), stderr=None, port=0, **more):
        command = [*wrap, whit, "serve", "--port", str(port), *words]
        self.said = []
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=stderr or subprocess.PIPE, text=stderr is None, **more)
        self.port = port or None
        if stderr is not None:
            return
        for line in self.process.stderr:
            self.said.append(line.rstrip())
            if "serving at http://" in line:
                self.port = int(line.rsplit(":", 1)[1])
                break
        if self.port is None:
            raise SystemExit(f"the server did not start: {self.said}")
        threading.Thread(target=lambda: self.said.extend(line.rstrip() for line in self.process.stderr), daemon=True).start()

    @property
    def place(self):
        return f"127.0.0.1:{self.port}"

    def planned(self):
        """Bytes of private memory that the plan says; 0 where it says none."""
        found = [re.search(r"([\d.]+) (\w+) private in all", line) for line in self.said]
        return int(sum(float(one[1]) * SIZES[one[2]] for one in found if one))

    def memory(self, field="RssAnon"):
        """Bytes of memory that the process has now: `RssAnon` is what is private."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith(field + ":"))

    def is_running(self):
        return self.process.poll() is None

    def panics(self):
        return [line for line in self.said if "panic" in line]

    def end(self, patience=60):
        """Asks it to end; its exit code."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.is_running():
            self.process.kill()
        self.process.wait()


def template_file():
    """A file with the template."""
    file = tempfile.NamedTemporaryFile("w", suffix=".jinja", delete=False)
    file.write(TEMPLATE)
    file.close()
    return file.name


def ask(place, path, body, timeout=600, method="POST"):
    """The status and the body of an answer."""
    connection = http.client.HTTPConnection(place, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def free_port():
    """A port that nobody listens at, below those that connections take of themselves."""
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as tried:
            try:
                tried.bind(("", port))
                return port
            except OSError:
                continue


def part(values, share):
    """The value below which so large a share of them lies."""
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def wait_until(holds, patience=60):
    """Whether something comes true in so many seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False
