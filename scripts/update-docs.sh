#!/usr/bin/env bash
# Puts what `causeway config sample` prints into docs/configuration.md. A test fails as long as the two differ.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/env.sh

sample="$(cargo run --quiet --locked -p homeserver -- config sample)"
before="$(sed '/^```toml$/q' docs/configuration.md)"
printf '%s\n%s\n```\n' "$before" "$sample" >docs/configuration.md
