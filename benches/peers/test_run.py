"""Parsing, statistics and whole comparisons with programs made here: `python3 -m unittest discover benches/peers`."""
import argparse
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import programs  # noqa: E402
import run  # noqa: E402

WHIT = """#!/bin/sh
echo "whit $*" >> "$0.log"
case "$*" in
  bench*--prefill\\ 8,16*) rows='{"work":"prefill","tokens":8,"depth":0,"tokens_per_second":200},
    {"work":"prefill","tokens":16,"depth":0,"tokens_per_second":400}' ;;
  bench*--depth\\ 32*) rows='{"work":"decode","tokens":4,"depth":32,"tokens_per_second":30}' ;;
  bench*--limit-seconds\\ 1*) rows= ;;
  bench*) rows='{"work":"decode","tokens":4,"depth":0,"tokens_per_second":60}' ;;
  *--json) printf '{"prompt":"the"}\\n{"summary":{"prompt_tokens":%d}}\\n' "$(echo "$*" | grep -o the | wc -l)"; exit ;;
  --version) echo 'whit 9'; exit ;;
  *) printf 'the'; exit ;;
esac
echo '{"bench":{"machine":"A CPU"},"limits":[{"read_bytes_per_second":4e9,"int8_macs_per_second":5e9,
  "f32_macs_per_second":6e9}],"rows":['"$rows"']}'
"""

BENCH = """#!/bin/sh
case "$*" in
  --help) echo '  FLAG <n>  depth' ;;
  *-p\\ 1\ -n\\ 0*) echo '[{"build_commit":"abc","n_prompt":1,"n_gen":0,"avg_ts":1}]' ;;
  *-p\\ 8,16*) echo '[{"n_prompt":8,"n_gen":0,"avg_ts":100},{"n_prompt":16,"n_gen":0,"avg_ts":100}]' ;;
  *-d\\ 32*) echo '[{"n_prompt":0,"n_gen":4,"n_depth":32,"avg_ts":60}]' ;;
  *-gp\\ 32,4*) echo '[{"n_prompt":32,"n_gen":4,"avg_ts":10}]' ;;
  *) echo '[{"n_prompt":0,"n_gen":4,"avg_ts":20}]' ;;
esac
"""


class Folder(unittest.TestCase):
    """Tests with a folder of programs and models."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.whit = self.program("whit", WHIT)
        self.bench = self.program("bench", BENCH.replace("FLAG", "-d, --n-depth"))
        self.fork = self.program("fork", BENCH.replace("FLAG", "-gp"))
        self.cli = self.program("cli", '#!/bin/sh\necho " x"\n')
        self.model = str(self.folder / "m.whit")
        Path(self.model).write_bytes(b"0" * 1_500_000)
        self.setting = programs.Setting(threads=1, decode=4, context=64, limit_seconds=20.0)

    def program(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def argv(self):
        return [sys.executable, str(HERE / "run.py"), "--whit", self.whit, "--model", self.model, "--prefill", "8,16",
                "--depth", "0,32", "--decode", "4", "--context", "256"]

    def small(self, *peers):
        return subprocess.run([*self.argv(), *peers], capture_output=True, text=True, check=False)


class Arguments(unittest.TestCase):
    def test_a_peer_is_name_command_and_model(self):
        self.assertEqual(run.parse_peer("a b=/x/bench -fa 1:/m/q.gguf"), ("a b", ("/x/bench", "-fa", "1"), "/m/q.gguf"))
        self.assertEqual(run.parse_peer("a='/x y/b' --o k=v:m"), ("a", ("/x y/b", "--o", "k=v"), "m"))
        self.assertEqual(run.parse_command("a=/x/cli -rtr"), ("a", ("/x/cli", "-rtr")))
        for wrong in ("", "a", "a=b", "=b:c", "a=:c", "a=b:", "a='b:c"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=wrong):
                run.parse_peer(wrong)

    def test_counts_are_not_negative(self):
        self.assertEqual(run.parse_counts("0,1024"), (0, 1024))
        for wrong in ("-1", "", "a", "1,,2"):
            with self.assertRaises((argparse.ArgumentTypeError, ValueError), msg=wrong):
                run.parse_counts(wrong)

    def test_a_prompt_has_as_many_words_as_tokens(self):
        self.assertEqual(run.prompt_of(3), "the the the")


class Statistics(unittest.TestCase):
    def test_the_ratio_is_the_median_of_rounds_that_both_have(self):
        self.assertEqual(run.paired_ratio({0: 10.0, 1: 40.0, 2: 30.0}, {0: 5.0, 1: 10.0, 2: 10.0}), 3.0)
        self.assertEqual(run.paired_ratio({0: 10.0, 1: 40.0}, {1: 10.0}), 4.0)

    def test_a_block_has_whit_first_and_fits_100_columns(self):
        samples = run.Samples()
        for n, (whit, peer) in enumerate([(2000.0, 1000.0), (30.0, 10.0), (4.0, 4.0)]):
            samples.add("prefill of 16384 tokens, tok/s", run.MORE, "ik_llama.cpp Q8_0_R8, repacked", n, peer)
            samples.add("prefill of 16384 tokens, tok/s", run.MORE, "whit", n, whit)
            samples.add("prefill of 16384 tokens, tok/s", run.MORE, "silent", n, None)
        self.assertEqual(samples.lines(), [
            "prefill of 16384 tokens, tok/s     median        min        max  whit/peer  more is better",
            "whit                                 30.0       4.00       2000",
            "ik_llama.cpp Q8_0_R8, repacked       10.0       4.00       1000       2.00",
            "",
        ])
        self.assertTrue(all(len(line) <= 100 for line in samples.lines()))


class Output(Folder):
    def test_rates_are_read_from_each_dialect(self):
        works = [programs.Work(prefill=(8, 16)), programs.Work(depth=0), programs.Work(depth=32)]
        whit = programs.Whit(self.whit, self.model)
        self.assertEqual([whit.rates(work, self.setting) for work in works], [[200.0, 400.0], [60.0], [30.0]])
        for path, flag, deep in ((self.bench, "-d", 60.0), (self.fork, "-gp", 10.0)):
            self.assertEqual(programs.depth_flag("x", (path,), 20.0), flag)
            peer = programs.Peer("x", (path,), self.model, depth_flag=flag)
            self.assertEqual([peer.rates(work, self.setting) for work in works], [[100.0, 100.0], [20.0], [deep]])

    def test_what_is_no_figure_is_told(self):
        with self.assertRaisesRegex(programs.Failure, "x: 0 rows of .*'tokens': 9"):
            programs.one_rate("x", [{"tokens": 8, "avg_ts": 1}], {"tokens": 9}, "avg_ts")
        with self.assertRaisesRegex(programs.Failure, "printed no JSON .*'oh'"):
            programs.read_json("oh", ["x"])
        with self.assertRaisesRegex(programs.Failure, "names neither -d nor -gp"):
            programs.depth_flag("x", (self.cli,), 20.0)

    def test_a_process_is_timed_and_weighed(self):
        one = programs.run(["sh", "-c", "sleep 0.1; echo a; sleep 0.1"], 20.0)
        self.assertEqual((one.stdout, one.private_bytes), ("a\n", None))
        self.assertTrue(0.1 <= one.first_byte <= one.seconds - 0.1, one)
        hold = "import time; held = bytearray(b'1') * (64 << 20); time.sleep(0.2)"
        one = programs.run([sys.executable, "-c", hold], 20.0, poll=True)
        self.assertEqual(one.first_byte, None)
        self.assertTrue(64 << 20 <= one.private_bytes <= one.peak_bytes, one)

    def test_a_process_that_fails_or_hangs_is_told_and_gone(self):
        with self.assertRaisesRegex(programs.Failure, r"(?s)ended with 3\n  \| b\Z"):
            programs.run(["sh", "-c", "echo b >&2; exit 3"], 20.0)
        with self.assertRaisesRegex(programs.Failure, "did not start"):
            programs.run([self.model], 20.0)
        pid = self.folder / "pid"
        with self.assertRaisesRegex(programs.Failure, r"still ran after 0.2 s \(--limit\)"):
            programs.run(["sh", "-c", f"echo $$ > {pid}; exec sleep 60"], 0.2)
        self.assertFalse(os.path.exists(f"/proc/{pid.read_text().strip()}"))


class Comparison(Folder):
    def test_a_whole_page(self):
        done = self.small("--peer", f"one={self.bench}:{self.model}", "--first", f"one={self.cli} -x", "--peer",
                          f"two={self.fork}:{self.model}", "--rounds", "2")
        self.assertEqual((done.returncode, done.stderr), (0, "round 1 of 2\nround 2 of 2\n"))
        lines = done.stdout.splitlines()
        self.assertTrue(all(len(line) <= 100 for line in lines))
        self.assertTrue(lines[0].startswith("machine  A CPU, 1 thread on core "), lines[0])
        self.assertEqual(lines[1:7], [
            "program  whit: whit 9; m.whit, 1.5 MB",
            "program  one: build abc; m.whit, 1.5 MB",
            "program  two: build abc; m.whit, 1.5 MB",
            "prompts  16 and 125 tokens, context 256; decode of 4; 2 rounds",
            "before   read 4.0 GB/s, int8 5.0 GMAC/s, f32 6.0 GMAC/s",
            "after    read 4.0 GB/s, int8 5.0 GMAC/s, f32 6.0 GMAC/s",
        ])
        rows = [line.split() for line in lines]
        self.assertEqual([row[4] for row in [row for row in rows if row[:1] == ["one"]][:4]], ["2.00", "4.00", "3.00", "0.50"])
        self.assertEqual([row[4] for row in rows if row[:1] == ["two"]], ["2.00", "4.00", "3.00", "3.00"])
        figures = [line.split(",")[0] for line in lines if line.endswith("is better")]
        self.assertEqual(figures, ["prefill of 8 tokens", "prefill of 16 tokens", "decode at depth 0",
                                   "decode at depth 32", "first byte", "exit", "first byte", "exit", "peak memory",
                                   "private memory"])
        runs = Path(f"{self.whit}.log").read_text().splitlines()
        self.assertEqual(len(runs), 2 + 2 + 1 + 2 * (3 + 3))

    def test_what_is_missing_is_named(self):
        peer = f"one={self.bench}:{self.model}"
        for message, arguments in [
            ("/none/whit: no such program", ["--peer", peer, "--whit", "/none/whit"]),
            ("/none/m: no such model", ["--peer", peer, "--model", "/none/m"]),
            ("/none/b: no such program", ["--peer", f"one=/none/b:{self.model}"]),
            ("/none/q: no such model", ["--peer", f"one={self.bench}:/none/q"]),
            ("/none/cli: no such program", ["--peer", peer, "--first", "one=/none/cli"]),
            ("--first names no --peer: two", ["--peer", peer, "--first", f"two={self.cli}"]),
            ("two programs are named one", ["--peer", peer, "--peer", peer]),
            ("two programs are named whit", ["--peer", peer.replace("one", "whit")]),
        ]:
            done = self.small(*arguments)
            self.assertEqual((done.returncode, done.stderr), (1, f"run.py: {message}\n"))

    def test_ended_from_outside_it_leaves_no_process(self):
        pid = self.folder / "pid"
        slow = BENCH.replace("FLAG", "-d").replace("*-d\\ 32*)", f"*-d\\ 32*) echo $$ > {pid}; exec sleep 60;")
        argv = [*self.argv(), "--peer", f"one={self.program('slow', slow)}:{self.model}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            for _ in range(2000):
                if pid.exists() and pid.read_text():
                    break
                time.sleep(0.01)
            process.terminate()
            page = process.communicate(timeout=20)[0]
        self.assertEqual(process.returncode, 130)
        self.assertIn("decode at depth 0", page)
        self.assertFalse(os.path.exists(f"/proc/{pid.read_text().strip()}"))

    def test_a_failing_peer_ends_it_with_what_was_measured(self):
        broken = self.program("broken", BENCH.replace("FLAG", "-d").replace("*-d\\ 32*)", "*-d\\ 32*) exit 9;"))
        done = self.small("--peer", f"one={broken}:{self.model}")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"run.py: {broken} -m", done.stderr)
        self.assertIn("ended with 9", done.stderr)
        self.assertIn("decode at depth 0", done.stdout)


if __name__ == "__main__":
    unittest.main()
