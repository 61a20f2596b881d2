# Sourced by ./run, ./test and .ci/run: makes sure that the machine has the tools they need. As root on Debian (or a system
# made from it) it installs what is absent; elsewhere it says exactly what to install, and ends the script.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Whether rocksdb's build finds libclang, which it reads C headers with.
have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
    compgen -G '/usr/lib/*/libclang*.so*' >/dev/null || compgen -G '/usr/lib64/libclang*.so*' >/dev/null
}

have_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# need PACKAGE COMMAND…: PACKAGE (Debian's name) is missing unless COMMAND succeeds.
absent=()
need() {
  local package="$1"
  shift
  "$@" >/dev/null 2>&1 || absent+=("$package")
}

# What building the server needs.
need_build_tools() {
  need gcc command -v cc
  need g++ command -v c++
  # cc alone may come without the C library's headers.
  need libc6-dev test -e /usr/include/stdio.h
  need make command -v make
  need clang command -v clang
  need libclang-dev have_libclang
  need cmake command -v cmake
}

# What the tests need besides. Synapse, the clients and their own needs are the business of scripts/prepare-clients.sh.
need_test_tools() {
  need strace command -v strace
  need python3 command -v python3
  need python3-venv have_venv
  need npm command -v npm
}

# Installs what is absent, or names it and ends the script.
settle_packages() {
  [ "${#absent[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing Debian packages: ${absent[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends "${absent[@]}"; } >&2 ||
      { say "apt-get could not install them: ${absent[*]}"; exit 1; }
  else
    say "please install what is missing, then start this again. As root, on Debian:"
    say "    apt-get install ${absent[*]}"
    exit 1
  fi
  absent=()
}

# Installs what makes things faster and nothing depends on; says nothing where it cannot.
wish_for() {
  command -v "$1" >/dev/null 2>&1 && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" >/dev/null 2>&1 || true
}

need_rust() {
  if ! command -v cargo >/dev/null 2>&1 && [ -f "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
  fi
  command -v cargo >/dev/null 2>&1 || {
    say "there is no cargo: install Rust 1.90 or newer, for example from https://rustup.rs"
    exit 1
  }
}
