#!/usr/bin/env bash
# Installs the browser that tools/pages/check.sh drives, where there is none. Needs root.
set -euo pipefail

command -v chromium >/dev/null && exit 0
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }
apt update
apt install --no-install-recommends chromium
