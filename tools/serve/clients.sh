#!/usr/bin/env bash
# Clients that others wrote against `whit serve`: the cases of ../shared/clients. Without a model it takes seconds: the packages openai and ollama,
# as Home Assistant pins them, and the story model with a chat template; there `openai chat tools` may fail, which wants a model that
# calls functions. With a model that talks: these and all other packages of those cases, of Python and npm. Needs pip, and root where npm is missing.
# Usage: tools/serve/clients.sh WHIT [MODEL]
set -euo pipefail

whit=$(realpath "$1")
model=${2:+$(realpath "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cases=$(realpath ../shared/clients)

if [ -n "$model" ]; then
  there=target/clients/all name=$(basename "$model" .whit) may_fail=nothing
  words=(-m "$model" -c 1024)
  python=(openai==2.54.0 ollama==0.6.3 langchain-openai==1.7.4 langchain-ollama==1.1.0 litellm==1.106.12 instructor==1.17.0
    "pydantic-ai-slim[openai]==2.31.1")
  node=(openai@6.49.0 ollama@0.6.4 ai@6.0.326 @ai-sdk/openai-compatible@2.0.92 @continuedev/openai-adapters@1.37.0)
else
  there=target/clients/quick name=stories may_fail="openai chat tools"
  words=(--chat-template "$PWD/$there/template")
  python=(openai==2.21.0 ollama==0.6.2)
  node=()
fi
mkdir -p "$there"
PYTHONPATH=tools/serve python3 -c "import serving; print(serving.TEMPLATE)" >"$there/template"

if [ "$(cat "$there/installed" 2>/dev/null)" != "${python[*]} ${node[*]}" ]; then
  rm -rf "$there/python" "$there/node_modules" "$there/installed"
  python3 -m venv --without-pip "$there/python"
  python3 -m pip --python "$there/python/bin/python" install --quiet --disable-pip-version-check "${python[@]}"
  if [ "${#node[@]}" -gt 0 ]; then
    command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends npm
    npm install --silent --ignore-scripts --prefix "$there" "${node[@]}"
  fi
  echo "${python[*]} ${node[*]}" >"$there/installed"
fi

:>"$there/server"
"$whit" serve --port 0 --no-cache "${words[@]}" 2>"$there/server" &
server=$!
trap 'kill $server 2>/dev/null' EXIT
until url=$(grep -o 'http://.*' "$there/server"); do
  kill -0 $server 2>/dev/null || { cat "$there/server" >&2; exit 1; }
  sleep 0.1
done

# A line for each case; what is left out has no package here.
failed=0
LITELLM_LOCAL_MODEL_COST_MAP=True "$there/python/bin/python" "$cases/clients.py" "$url" "$name" | tee "$there/said" | cut -c 1-160 || true
[ "$(grep -cE '^(ok|FAIL|left out) ' "$there/said")" = "$(grep -c '^@case' "$cases/clients.py")" ] || failed=1
grep '^FAIL' "$there/said" | grep -qv "^FAIL $may_fail ->" && failed=1
if [ "${#node[@]}" -gt 0 ]; then
  cp "$cases"/*.mjs "$there/"
  node "$there/clients.mjs" "$url" "$name" || failed=1
  node "$there/continue.mjs" "$url" "$name" || failed=1
fi
exit $failed
