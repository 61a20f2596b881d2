#!/usr/bin/env bash
# Prepares what the real-network tests need besides Causeway: a published Synapse, matrix-nio, matrix-js-sdk, and a Node
# new enough for the latter. Prints, as its only line on standard output, the folder that holds them:
#
#   FOLDER/venv           Python environment (Synapse, matrix-nio)
#   FOLDER/node_modules   matrix-js-sdk
#   FOLDER/bin/node       Node
#
# The folder's name contains a hash of the pinned requirement files, so that changed pins make a new folder. Once made, the
# script answers at once. As root it installs the Debian packages it lacks; otherwise it names them.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
pins="$here/compliance-tests/clients"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/causeway"

say() { printf 'prepare-clients: %s\n' "$*" >&2; }

missing=()
command -v python3 >/dev/null || missing+=(python3)
# python3 alone is not enough on Debian: making an environment with pip in it needs ensurepip, from python3-venv.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
command -v npm >/dev/null || missing+=(npm)
command -v flock >/dev/null || missing+=(util-linux)
# The load comparison runs Synapse on PostgreSQL, as people do in earnest.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
if ((${#missing[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Debian packages: ${missing[*]}"
    { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; }; } >&2
  else
    say "these packages are missing; please install them: apt-get install ${missing[*]}"
    exit 1
  fi
fi

hash="$(cat "$pins/requirements.txt" "$pins/package-lock.json" | sha256sum | cut -c1-12)"
folder="$cache/clients-$hash"
mkdir -p "$cache"

# Two tests may ask at the same time; the second waits for the first.
exec 9>"$folder.lock"
flock 9
# A new Python makes an old environment useless, so the environment has to start, not merely be there.
if [ -e "$folder/ready" ] && "$folder/venv/bin/python" -c '' 2>/dev/null && "$folder/bin/node" -e '' 2>/dev/null; then
  printf '%s\n' "$folder"
  exit 0
fi

rm -rf "$folder"
mkdir -p "$folder/bin"

say "installing Synapse and matrix-nio into $folder/venv"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --prefer-binary --requirement "$pins/requirements.txt" >&2

say "installing matrix-js-sdk into $folder/node_modules"
cp "$pins/package.json" "$pins/package-lock.json" "$folder/"
# No install scripts: nothing here needs any. The engine warnings concern the system's Node, which only runs npm.
(cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
for node in "$folder"/node_modules/node-linux-*/bin/node; do
  if "$node" -e '' 2>/dev/null; then ln -sf "$node" "$folder/bin/node"; fi
done
"$folder/bin/node" -e '' || { say "no Node for this kind of processor among the pinned packages"; exit 1; }

touch "$folder/ready"
printf '%s\n' "$folder"
