#!/usr/bin/env python3
"""Kills whit at random moments while it talks, and holds the conversation that is left against one that nobody has killed.

    tools/reliability/chat-kill.py WHIT MODEL [--kills 300] [--seed 1] [--turns 12]

A conversation in a session file is told all that is still to be said, and killed after a random time. All replies that were
printed to their ends must be there: what the model says to one more line tells how many are, since it was asked for after every
number of turns before. The next process goes on with those. Fails where a turn is lost, where the reply is another one, and where
a process complains of more than a turn that was not written to its end.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import time

TEMPLATE = "{% for m in messages %}{{ m.content }}. {% endfor %}"
LINES = "the cat sat,a red bird,one old tree,near our house,then it ran,and saw,a mat,we sing,so long,that day".split(",")
ONE_MORE = "what then"


def command(options, folder, session=None):
    keep = ["--session", session] if session else []
    words = ["chat", "-q", "--raw", "-m", options.model, "-n", "8", "-s", "5", "-t", "1", "--temp", "0.8"]
    return [options.whit, *words, "--chat-template", folder / "talk.jinja", *keep]


def told(lines):
    return "".join(line + "\n" for line in lines).encode()


def heard(words, lines):
    done = subprocess.run(words, input=told(lines), capture_output=True)
    if done.returncode or (done.stderr and b"are left out" not in done.stderr):
        sys.exit(f"exit code {done.returncode}, {done.stderr!r}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", type=int, default=12)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "talk.jinja").write_text(TEMPLATE)
        # Until what is said to one more line tells after how many turns it was.
        more = [b""] * 2
        while len(set(more)) < len(more):
            lines = [rng.choice(LINES) for _ in range(options.turns)]
            begin = time.monotonic()
            heard(command(options, folder), lines)
            longest = 1.2 * (time.monotonic() - begin)
            # All that is said in the first n turns, and to one more line after them.
            said = [heard(command(options, folder), lines[:n]) for n in range(options.turns + 1)]
            more = [heard(command(options, folder), [*lines[:n], ONE_MORE]) for n in range(options.turns + 1)]
            more = [whole[len(before) :] for before, whole in zip(said, more)]
        session, copy = folder / "talk.session", folder / "copy.session"
        killed = ended = unprinted = n = 0
        while killed < options.kills:
            process = subprocess.Popen(command(options, folder, session), stdin=-1, stdout=-1, stderr=-3)
            try:
                process.stdin.write(told(lines[n:]))
                process.stdin.close()
            except BrokenPipeError:
                pass
            time.sleep(rng.uniform(0, longest))
            if process.poll() is None:
                process.kill()
                killed += 1
            else:
                ended += 1
            printed = len(said[n]) + len(process.stdout.read())
            process.wait()
            n_printed = max(i for i in range(options.turns + 1) if len(said[i]) <= printed)
            copy.unlink(missing_ok=True)
            if session.exists():
                copy.write_bytes(session.read_bytes())
            n_kept = more.index(heard(command(options, folder, copy), [ONE_MORE]))
            if not n_printed <= n_kept <= n_printed + 1:
                sys.exit(f"after {killed} kills: {n} turns were kept, {n_printed} were printed, {n_kept} are kept now")
            unprinted += n_kept - n_printed
            n = n_kept
            if n == options.turns:
                session.unlink()
                n = 0
        print(f"{killed} killed, {ended} ended before, {unprinted} turns kept and not yet printed: none lost, no other reply")


if __name__ == "__main__":
    main()
