#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies with cargo-deny (deny.toml); known vulnerabilities too where the
# database of advisories can be reached. Installs cargo-deny into the cache if it is not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.20.2
tools="${XDG_CACHE_HOME:-$HOME/.cache}/causeway/tools"
export PATH="$tools/bin:$PATH"
if ! cargo deny --version 2>/dev/null | grep -qF " $version"; then
  cargo install --locked --root "$tools" --target-dir "$tools/target" "cargo-deny@$version"
fi

cargo deny --locked check licenses bans sources
if cargo deny fetch db >/dev/null 2>&1; then
  cargo deny --locked check advisories
else
  echo "advisories: not checked, because their database cannot be reached from here"
fi
