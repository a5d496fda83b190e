#!/usr/bin/env bash
# Makes every page that whit can write, with the embedded model and some as of a deeper one, and checks each in Chromium;
# then drives the page of `whit serve` in Chromium and, where it is there, in Firefox.
# Usage: tools/pages/check.sh [WHIT]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
whit=$(realpath "${1:-$here/../../target/debug/whit}")
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
cd "$pages"

text='Once upon a time there was a little cat. The little cat was hungry.'
printf '%s\n' "$text" '' 'She saw a big dog, and the dog saw her: "Hi <b>cat</b>!"' >story.txt
# What is drawn for the terminal is printed only if the program fails.
page() {
  local name=$1 command=$2
  shift 2
  "$whit" "$command" --html "$name.html" "$@" >"$name.log" 2>&1 || { cat "$name.log" >&2; exit 1; }
}
page tokens tokens -f story.txt
page next next "$text"
page show generate --show -n 12 --temp 1 --top-k 40 --top-p 0.9 --repeat-penalty 1.1 "$text"
page show-greedy generate --show -n 4 --temp 0 "$text"
page tally tally
page tally-shape tally --shape gpt-3
page words words --top 8 cat
page words-sum words 'cat - cats + dogs'
page words-along words --direction cat:cats --along one two three rhinoceros
page attend attend "$text"
page attend-one attend --layer 1 --head 2 "$text"
page lens lens "$text"
page explain explain --seed 1 "$text"
page explain-greedy explain --temp 0 a
page score score story.txt
page score-against score story.txt --against "$here/../../models/stories.whit"
for view in attend lens; do
  node "$here/deepen.mjs" "$view.html" "$view-deep.html"
done
node "$here/check.mjs" "$pages"
node "$here/chat.mjs" chromium "$whit"
if firefox=$(command -v firefox-esr || command -v firefox); then
  FIREFOX=$firefox node "$here/chat.mjs" firefox "$whit"
elif [ -n "${WHIT_REQUIRE_SHARED:-}" ] && apt-cache show firefox-esr >/dev/null 2>&1; then
  echo "Firefox is missing, though firefox-esr can be installed: tools/ci/install-browser.sh" >&2
  exit 1
else
  echo "SKIPPED chat in firefox: neither firefox-esr nor firefox is installed"
fi
