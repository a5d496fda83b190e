#!/usr/bin/env bash
# Installs the browsers that tools/pages/check.sh drives and the node that drives them, where they are missing. Needs root.
set -euo pipefail

needed=()
command -v chromium >/dev/null || needed+=(chromium)
command -v node >/dev/null || needed+=(nodejs)
command -v firefox-esr firefox >/dev/null || needed+=(firefox-esr)
[ "${#needed[@]}" -gt 0 ] || exit 0
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }
apt update
# Debian has firefox-esr; where others do not, check.sh says that it skips Firefox.
for name in "${needed[@]}"; do
  if [ "$name" != firefox-esr ] || apt-cache show firefox-esr >/dev/null 2>&1; then
    apt install --no-install-recommends "$name"
  fi
done
