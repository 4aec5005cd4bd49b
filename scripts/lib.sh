# Sourced by the other scripts: where things are, and how what is missing gets installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
VENV=$ROOT/.venv
JOBS=$(nproc 2>/dev/null || echo 2)

# One line a need: how to see that it is there, then the Debian package that brings it.
BUILD_NEEDS='
file:/etc/ssl/certs/ca-certificates.crt ca-certificates
cmd:gcc gcc
file:/usr/include/stdio.h libc6-dev
cmd:cmake cmake
cmd:ninja ninja-build
cmd:pkg-config pkg-config
pc:openssl libssl-dev
pc:zlib zlib1g-dev
pc:libcurl libcurl4-openssl-dev
pc:libh2o-evloop libh2o-evloop-dev
pc:yajl libyajl-dev
pc:yaml-0.1 libyaml-dev
pc:libcyaml libcyaml-dev
pc:cmocka libcmocka-dev
'
CURL_NEEDS='
cmd:curl curl
cmd:python3 python3
'
TEST_NEEDS='
cmd:curl curl
cmd:openssl openssl
cmd:nghttp nghttp2-client
py:venv python3-venv
cmd:node nodejs
cmd:npm npm
'
CLANG_NEEDS='
cmd:clang clang
glob:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a libclang-rt-14-dev
'
COVERAGE_NEEDS='
cmd:llvm-cov llvm
cmd:llvm-profdata llvm
'

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 2; }

# A python3 of 3.9 or newer that can make virtual environments. Debian's own first: a shim in PATH may have no version behind it.
find_python() {
    local python
    for python in /usr/bin/python3 python3; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    return 1
}

is_there() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null ;;
    pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    file:*) [ -e "${1#file:}" ] ;;
    glob:*) compgen -G "${1#glob:}" >/dev/null ;;
    py:venv) find_python >/dev/null ;;
    esac
}

missing_of() {
    local probe package
    while read -r probe package; do
        [ -z "$probe" ] || is_there "$probe" || echo "$package"
    done <<<"$1"
}

install_packages() {
    local as=() log
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || die "these packages are missing and this user cannot install them: $*
run as root:  apt-get update && apt-get install -y --no-install-recommends $*"
        as=(sudo -n)
    fi
    command -v apt-get >/dev/null || die "install what Debian calls: $* (there is no apt-get here)"
    say "installing $*"
    log=$(mktemp)
    "${as[@]}" apt-get update -qq >/dev/null 2>&1 </dev/null || true
    if ! "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $*"
    fi
    rm -f "$log"
}

# need LIST: everything in it is there afterwards, or the script ends with a message that says what to install.
need() {
    local missing
    missing=$(missing_of "$1")
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    install_packages $missing
    missing=$(missing_of "$1")
    [ -z "$missing" ] || die "still missing after the installation:" $missing
}

# need_python_packages: the virtual environment with the pinned packages of the tests.
need_python_packages() {
    local wanted=tests/integration/requirements.txt python
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        python=$(find_python) || die "no python3 that can make a virtual environment (Debian: python3-venv)"
        rm -rf "$VENV"
        "$python" -m venv "$VENV"
    fi
    if ! cmp -s "$wanted" "$VENV/installed"; then
        say "python packages into .venv"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted" </dev/null
        cp "$wanted" "$VENV/installed"
    fi
    # The older SDK that most programs still use, beside the new one.
    wanted=tests/integration/requirements-openai-1.txt
    if ! cmp -s "$wanted" "$VENV/openai-1/installed"; then
        rm -rf "$VENV/openai-1"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --target "$VENV/openai-1" -r "$wanted" </dev/null
        cp "$wanted" "$VENV/openai-1/installed"
    fi
}

# need_node_packages: the pinned Node SDK. No lock file: it would name the registry of whoever made it.
need_node_packages() {
    local dir=tests/integration/node
    if cmp -s "$dir/package.json" "$dir/node_modules/.installed"; then
        return
    fi
    say "node packages into $dir/node_modules"
    (cd "$dir" && npm install --no-package-lock --no-audit --no-fund --loglevel=error </dev/null >&2)
    cp "$dir/package.json" "$dir/node_modules/.installed"
}

# build PRESET [TARGET...]
build() {
    local preset=$1
    shift
    say "building $preset"
    if [ ! -f "build/$preset/build.ninja" ]; then
        cmake --preset "$preset" >/dev/null
    fi
    cmake --build "build/$preset" -j "$JOBS" ${1:+--target "$@"} >&2
}
