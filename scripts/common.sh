# shellcheck shell=bash
# What scripts/quickstart and scripts/test share: messages, and installing what is missing. Sourced, not run.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' green='' red='' plain=''
fi
export bold green red plain

say() { printf '%s\n' "$*"; }
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
die() {
  printf '%s%s%s\n' "$red" "$1" "$plain" >&2
  shift
  for line in "$@"; do printf '%s\n' "$line" >&2; done
  exit 1
}

# Microseconds since 1970.
now_us() { local now=${EPOCHREALTIME/[.,]/}; printf '%s' "$now"; }

# 1234567 us -> 1.235 s
seconds() { awk -v us="$1" 'BEGIN { printf (us < 10000000 ? "%.3f s" : "%.1f s"), us / 1e6 }'; }

# 1234567 -> 1.2 MiB
bytes() {
  awk -v n="$1" 'BEGIN { split("B KiB MiB GiB TiB", u, " "); i = 1
    while (n >= 1024 && i < 5) { n /= 1024; i++ }
    printf (i == 1 ? "%d %s" : "%.1f %s"), n, u[i] }'
}

# The directory that everything is built in, absolute, from the top of the repository.
target_directory() {
  case ${CARGO_TARGET_DIR:-} in /*) say "$CARGO_TARGET_DIR" ;; *) say "$PWD/${CARGO_TARGET_DIR:-target}" ;; esac
}

# apt_install PACKAGE...: installs Debian packages if that is possible without asking; otherwise says what to do.
apt_install() {
  command -v apt-get >/dev/null 2>&1 || {
    say "missing: $*; this system has no apt-get, please install the equivalents"
    return 1
  }
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      say "missing: $*; install with: sudo apt-get install $*"
      return 1
    fi
  fi
  say "installing $*"
  local log
  log=$(mktemp)
  if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 ||
    { "${as_root[@]}" apt-get update -qq >>"$log" 2>&1 &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1; }; then
    rm -f "$log"
    return 0
  fi
  tail -n 5 "$log" >&2
  rm -f "$log"
  say "could not install $*; install with: sudo apt-get install $*"
  return 1
}

# The Rust toolchain and the C compiler it links with.
need_toolchain() {
  [ -r "${CARGO_HOME:-$HOME/.cargo}/env" ] && ! command -v cargo >/dev/null 2>&1 &&
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  command -v cargo >/dev/null 2>&1 || die "cargo is missing: Helios is built with Rust 1.95 or later." \
    "Install rustup, the Rust toolchain installer:" \
    "  sudo apt-get install rustup && rustup default stable" \
    "(or follow the instructions on the Rust project's home page), then run this again."
  local version
  version=$(rustc --version | awk '{print $2}')
  case $(printf '%s\n' 1.95.0 "${version%%-*}" | sort -V | head -n 1) in
    1.95.0) ;;
    *) die "rustc $version is too old: Helios needs 1.95 or later." "Update it with: rustup update stable" ;;
  esac
  if ! command -v cc >/dev/null 2>&1 || ! command -v make >/dev/null 2>&1; then
    apt_install gcc libc6-dev make || die "A C compiler or make is missing; Rust links with the one, jemalloc is built with both." \
      "Install them with: sudo apt-get install gcc libc6-dev make"
  fi
}

# profiled_build PROGRAM TRAINING OPTIONS...: builds PROGRAM with cargo's OPTIONS for what TRAINING does with it. TRAINING is
# called with a build that counts branches and calls; by the counts the program is built again. The last line printed is it.
profiled_build() {
  local program=$1 training=$2 host profile=${RELEASE_PROFILE:-release} out counts tool merged
  shift 2
  host=$(rustc -vV | sed -n 's/^host: //p')
  out=$(target_directory)/profiled
  counts=$out/$program.counts
  tool=$(rustc --print target-libdir)/../bin/llvm-profdata
  [ -x "$tool" ] || rustup component add llvm-tools >/dev/null 2>&1 || true
  [ -x "$tool" ] || die "llvm-profdata is missing, which merges what a build has counted." \
    "Install it with: rustup component add llvm-tools"
  local directory=$profile
  [ "$profile" != dev ] || directory=debug
  rm -rf "$counts"
  # With --target the flags are not for build scripts and macros, which would count themselves.
  local build=(cargo build --quiet --locked --profile "$profile" --bin "$program" --target "$host" "$@")
  say "$program, counting" >&2
  RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$counts" "${build[@]}" --target-dir "$out/counting" || return 1
  say "$program, at work" >&2
  "$training" "$out/counting/$host/$directory/$program" || die "$program, built to count, does not work"
  # What was counted is in the name: cargo sees flags, not files, and would take a program of other counts for this one.
  merged=$out/$program.profdata
  "$tool" merge -o "$merged" "$counts" || return 1
  local counted
  counted=$out/$program-$(sha256sum "$merged" | head -c 16).profdata
  rm -f "$out/$program"-*.profdata
  mv "$merged" "$counted"
  say "$program, by the counts" >&2
  RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-use=$counted" "${build[@]}" --target-dir "$out/counted" || return 1
  say "$out/counted/$host/$directory/$program"
}
