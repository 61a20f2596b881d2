# Sourced by ./run, ./test and .ci/run: build settings that make no difference to what is built.
# One target directory outside the clone, so that a fresh clone reuses compiled dependencies (RocksDB above all).
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway/target}"
# mold links several times faster; without it the system's linker does the same job.
if command -v mold >/dev/null 2>&1; then
  export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-fuse-ld=mold"
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-fuse-ld=mold"
fi
