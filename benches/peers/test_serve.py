"""A whole comparison with servers made here: `python3 -m unittest discover benches/peers`."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import serve  # noqa: E402

SERVER = """#!{python}
import http.server, json, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        self.answer("fine")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep({seconds})
        for event in [dict(choices=[dict(text="a")])] * 2 + [dict(choices=[], usage=dict(completion_tokens=body["max_tokens"]))]:
            self.answer("data: " + json.dumps(event) + "\\n\\n")

    def log_message(self, *_):
        pass

words = sys.argv[1:]
if words[0] == "create":
    sys.exit(0)
open({log!r}, "a").write(" ".join(words) + "\\n")
port = words[words.index("--port") + 1] if "--port" in words else os.environ["OLLAMA_HOST"].split(":")[1]
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


class Serving(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.model = self.file("m.gguf", "")

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def server(self, name, seconds):
        return self.file(name, SERVER.format(python=sys.executable, seconds=seconds, log=str(self.folder / f"{name}.log")))

    def compare(self, *peers):
        out = io.StringIO()
        own = ["--whit", self.server("whit", 0.02), "--model", self.model, "--rounds", "1", "--seconds", "0.3"]
        with contextlib.redirect_stderr(io.StringIO()):
            code = serve.main([*own, *peers], out)
        return code, out.getvalue()

    def test_each_program_has_its_words_and_all_figures(self):
        code, page = self.compare("--llama-server", f"l={self.server('llama', 0.06)} -fa 1:{self.model}",
                                  "--ollama", f"o={self.server('ollama', 0.06)}:{self.model}")
        self.assertEqual(code, 0)
        blocks = [block.splitlines() for block in page.rstrip().split("\n\n")]
        self.assertEqual([len(block) for block in blocks], [4] * 5, page)
        for block in blocks:
            whit = float(block[1].split()[1])
            for _, median, _, _, ratio in (line.split() for line in block[2:]):
                self.assertLess(abs(whit / float(median) - float(ratio)), 0.02 * float(ratio) + 0.01, page)
        self.assertRegex((self.folder / "whit.log").read_text(), r"^serve -m \S+ -t 1 --port \d+ --parallel 8 -c 1024 --no-cache\n$")
        self.assertRegex((self.folder / "llama.log").read_text(), r"^-fa 1 -m \S+ -t 1 --port \d+ -np 8 -c 8192\n$")
        self.assertEqual((self.folder / "ollama.log").read_text(), "serve\n")

    def test_a_server_that_does_not_serve_is_told(self):
        broken = self.file("broken", "#!/bin/sh\nexit 3\n")
        self.assertEqual(self.compare("--llama-server", f"l={broken}:{self.model}")[0], 1)


if __name__ == "__main__":
    unittest.main()
