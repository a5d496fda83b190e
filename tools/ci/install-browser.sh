#!/usr/bin/env bash
# Installs the browser that tools/pages/check.sh drives and the node that drives it, where they are missing. Needs root.
set -euo pipefail

needed=()
command -v chromium >/dev/null || needed+=(chromium)
command -v node >/dev/null || needed+=(nodejs)
[ "${#needed[@]}" -gt 0 ] || exit 0
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }
apt update
apt install --no-install-recommends "${needed[@]}"
