#!/usr/bin/env bash
# Fuzzes state-res: every target for so many seconds (60), one after the other, beginning with the kept corpus.
#
#     scripts/fuzz.sh [SECONDS [TARGET…]]
#
# Installs what it needs: a nightly toolchain and cargo-fuzz. Nothing in the clone changes but, on a finding,
# state-res/fuzz/artifacts. What the run discovers beyond the corpus is thrown away, unless FUZZ_KEEP names a folder for it.
# A finding becomes a test, and its input a file of the corpus, which `cargo test -p state-res` runs through too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh
need_rust
# libFuzzer is C++.
need g++ command -v c++
settle_packages
. scripts/env.sh
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/fuzz"

seconds="${1:-60}"
shift || true
case "$seconds" in
  '' | *[!0-9]*)
    say "the number of seconds must be digits, not '$seconds'"
    exit 2
    ;;
esac
fuzz=state-res/fuzz
if [ $# -gt 0 ]; then
  targets=("$@")
else
  targets=()
  for file in "$fuzz"/fuzz_targets/*.rs; do
    targets+=("$(basename "$file" .rs)")
  done
fi

toolchain=(+nightly)
if ! cargo +nightly --version >/dev/null 2>&1 && ! rustup toolchain install nightly --profile minimal >&2; then
  # Without a sanitizer (state-res has no unsafe code, so there is nothing for one to find) all that fuzzing asks of a compiler
  # is counting where the program went, which the stable one can do when told that it may.
  say "no nightly toolchain can be had; the default one does it with RUSTC_BOOTSTRAP"
  toolchain=()
  export RUSTC_BOOTSTRAP=1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  say "installing cargo-fuzz"
  cargo install cargo-fuzz --locked --version 0.13.2 >&2
fi
cargo "${toolchain[@]}" fetch --quiet --locked --manifest-path "$fuzz/Cargo.toml" || {
  say "$fuzz/Cargo.lock is not up to date: run cargo update --workspace --manifest-path $fuzz/Cargo.toml"
  exit 1
}
cargo "${toolchain[@]}" fuzz build --fuzz-dir "$fuzz" --sanitizer none

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
found=()
summary=()
for target in "${targets[@]}"; do
  new="${FUZZ_KEEP:-$work}/$target"
  mkdir -p "$new"
  options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0)
  case "$target" in
    canonical_json | event | redaction) options+=(-dict="$fuzz/dictionaries/json.dict" -max_len=4096) ;;
  esac
  status=0
  cargo "${toolchain[@]}" fuzz run --fuzz-dir "$fuzz" --sanitizer none "$target" "$new" "$fuzz/corpus/$target" -- \
    "${options[@]}" >"$work/log" 2>&1 || status=$?
  runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")"
  if [ "$status" -eq 0 ] && [ -n "$runs" ]; then
    summary+=("$target: $runs executions in $seconds s, no finding")
  else
    cat "$work/log" >&2
    found+=("$target")
    summary+=("$target: FAILED, see above; the input is in $fuzz/artifacts/$target")
  fi
  printf '%s\n' "${summary[-1]}"
done

printf '\nfuzzing:\n'
printf '  %s\n' "${summary[@]}"
[ "${#found[@]}" -eq 0 ]
