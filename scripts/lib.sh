# Sourced by the other scripts: where things are, and how what is missing gets installed.
set -euo pipefail
unset CDPATH
# The words and letters that tools write must not depend on whoever calls (in Turkish the small letter of I is not i).
unset LANGUAGE
export LC_ALL=C.UTF-8
# `env -i` and cron leave out what compilers, pip and npm take for granted.
export PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/sbin:/sbin
export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
# Packages may come through a proxy; what runs on this machine is asked without one.
for name in no_proxy NO_PROXY; do
    [ "${!name:-}" = '*' ] || export "$name=127.0.0.1,localhost,::1${!name:+,${!name}}"
done
cd -P "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit 2
ROOT=$PWD
VENV=$ROOT/.venv
JOBS=$(nproc 2>/dev/null || echo 2)

# Whether this is a Debian after 12, the last one with libh2o.
h2o_is_gone() {
    local release
    release=$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release 2>/dev/null)
    [ "${release:-99}" -gt 12 ]
}
CLANG=14
! h2o_is_gone || CLANG=19

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
pc:sqlite3 libsqlite3-dev
pc:libpq libpq-dev
pc:libseccomp libseccomp-dev
'
UNIT_NEEDS='
pc:cmocka libcmocka-dev
glob:/usr/lib/postgresql/*/bin/initdb postgresql
py:venv python3-venv
'
INTEGRATION_NEEDS='
cmd:curl curl
cmd:openssl openssl
cmd:nghttp nghttp2-client
cmd:node nodejs
cmd:npm npm
'
# A browser, for the tests of the page in long runs.
BROWSER_NEEDS='
cmd:chromium chromium
'
CLANG_NEEDS="
cmd:clang clang
glob:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a libclang-rt-$CLANG-dev
"
COVERAGE_NEEDS='
cmd:llvm-cov llvm
cmd:llvm-profdata llvm
'

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 2; }

# need_own FOLDER...: whoever calls can write to those that are there, and make those that are not.
need_own() {
    local folder place owner
    for folder; do
        place=$(find -H "$folder" -maxdepth 2 -type d ! -writable -print -quit 2>/dev/null || true)
        [ -n "$place" ] || continue
        owner=$(stat -c %U "$place")
        die "$ROOT/$place belongs to $owner, and $(id -un) cannot write there
delete $ROOT/$folder as $owner (it holds nothing but what these scripts make), or run this as $owner"
    done
    [ -w . ] || die "$(id -un) cannot write to $ROOT: clone it to a place of your own"
}

room_in() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }'; }

# need_place MEGABYTES: build/ can be written to, and there is a TMPDIR with so much room (a smaller one is replaced by build/tmp)
# and a HOME.
need_place() {
    local temporary=${TMPDIR:-/tmp}
    need_own build
    mkdir -p build
    if [ ! -w "${HOME:-/nowhere}" ]; then
        mkdir -p build/home
        export HOME=$ROOT/build/home
    fi
    if [ -d "$temporary" ] && [ -w "$temporary" ] && [ "$(room_in "$temporary")" -ge "$1" ]; then
        return 0
    fi
    [ "$(room_in build)" -ge "$1" ] || die "neither $temporary nor $ROOT/build has $1 MB free: set TMPDIR to a folder that has"
    say "$temporary cannot take $1 MB: temporary files go to build/tmp"
    mkdir -p build/tmp
    export TMPDIR=$ROOT/build/tmp
}

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

# missing_of LIST...: the packages, each once.
missing_of() {
    local probe package
    while read -r probe package; do
        [ -z "$probe" ] || is_there "$probe" || echo "$package"
    done <<<"$(printf '%s\n' "$@")" | awk '!seen[$0]++'
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
    log=build/apt.log
    "${as[@]}" apt-get update -qq >/dev/null 2>&1 </dev/null || true
    if ! "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "apt-get could not install: $*"
    fi
}

# On a Debian without libh2o its packages come from Debian 12's archive, verified as apt does, and
# are unpacked below build/: nothing foreign is installed.
H2O_BESIDE=$ROOT/build/debian12
h2o_is_beside() {
    [ -e "$H2O_BESIDE/pkgconfig/libh2o-evloop.pc" ] || return 1
    case :${PKG_CONFIG_PATH:-}: in *":$H2O_BESIDE/pkgconfig:"*) ;; *) export PKG_CONFIG_PATH=$H2O_BESIDE/pkgconfig:${PKG_CONFIG_PATH:-} ;; esac
}
put_h2o_beside() {
    local apt=$H2O_BESIDE/apt archive deb libraries options
    h2o_is_beside && return
    say "unpacking Debian 12's libh2o into build/debian12"
    rm -rf "$H2O_BESIDE"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    archive=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive bookworm main" >"$apt/sources.list"
    options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/nowhere -o "Dir::State::Lists=$apt/lists"
        -o "Dir::Cache=$apt" -o APT::Sandbox::User=root)
    if ! (cd "$apt" && apt-get "${options[@]}" update &&
        apt-get "${options[@]}" download libh2o-evloop-dev libh2o-dev-common libh2o-evloop0.13) >build/apt.log 2>&1 </dev/null; then
        tail -n 20 build/apt.log >&2
        die "apt-get could not fetch libh2o from Debian 12's archive"
    fi
    for deb in "$apt"/*.deb; do
        dpkg-deb --extract "$deb" "$H2O_BESIDE"
    done
    rm -rf "$apt"
    libraries=$(dirname "$(compgen -G "$H2O_BESIDE/usr/lib/*/libh2o-evloop.so")")
    mkdir "$H2O_BESIDE/pkgconfig"
    sed -e "s|^prefix=.*|prefix=$H2O_BESIDE/usr|" -e "s|^libdir=.*|libdir=$libraries|" "$libraries/pkgconfig/libh2o-evloop.pc" \
        >"$H2O_BESIDE/pkgconfig/libh2o-evloop.pc"
    h2o_is_beside
}

# need LIST...: everything in them is there afterwards, or the script ends with one message that names all that is to be installed.
need() {
    local missing beside=
    h2o_is_beside || true
    missing=$(missing_of "$@")
    if grep -qx libh2o-evloop-dev <<<"$missing" && h2o_is_gone; then
        beside=1
        missing=$(sed 's/^libh2o-evloop-dev$/libwslay1/' <<<"$missing") # which it needs
    fi
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    install_packages $missing
    [ -z "$beside" ] || put_h2o_beside
    missing=$(missing_of "$@")
    [ -z "$missing" ] || die "still missing after the installation:" $missing
}

tools=$ROOT/build/tools
# unpacked PROGRAM PACKAGE...: the Debian packages are unpacked below build/, not installed: installing nginx, h2o or Prometheus would
# start a service now, enable it for every boot, and put configuration into /etc.
unpacked() {
    local program=$1 dir deb
    shift
    case :$PATH: in *":$tools/usr/bin:"*) ;; *) PATH=$PATH:$tools/usr/sbin:$tools/usr/bin ;; esac
    ! command -v "$program" >/dev/null || return 0
    command -v apt-get >/dev/null || die "$program is missing and there is no apt-get here (Debian: $*)"
    say "unpacking $* into build/tools"
    dir=$(mktemp -d)
    if ! (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@") >&2; then
        if [ "$(id -u)" = 0 ]; then apt-get update -qq >&2; else sudo -n apt-get update -qq >&2 || true; fi
        (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@") >&2 || die "apt-get could not download: $* (apt-get update as root may help)"
    fi
    mkdir -p "$tools"
    for deb in "$dir"/*.deb; do
        dpkg-deb --extract "$deb" "$tools"
    done
    rm -rf "$dir"
    command -v "$program" >/dev/null || die "$program is not in $*"
}

# need_python_packages [FOLDER...]: the virtual environment with the pinned packages of the tests; those of requirements-FOLDER.txt
# stand beside it.
need_python_packages() {
    local wanted=tests/integration/requirements.txt python folder
    need_own .venv
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
    # The older SDK that most programs still use; LiteLLM's SDK, and the SQL by which its database is made.
    for folder in openai-1 litellm "$@"; do
        wanted=tests/integration/requirements-$folder.txt
        if ! cmp -s "$wanted" "$VENV/$folder/installed"; then
            rm -rf "${VENV:?}/$folder"
            "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --target "$VENV/$folder" -r "$wanted" </dev/null
            cp "$wanted" "$VENV/$folder/installed"
        fi
    done
}

# need_node_packages FOLDER: its pinned packages. No lock file: it would name the registry of whoever made it.
need_node_packages() {
    local dir=tests/integration/$1
    need_own "$dir"
    if cmp -s "$dir/package.json" "$dir/node_modules/.installed"; then
        return
    fi
    say "node packages into $dir/node_modules"
    (cd "$dir" && npm install --no-package-lock --no-audit --no-fund --loglevel=error </dev/null >&2)
    cp "$dir/package.json" "$dir/node_modules/.installed"
}

# drop_moved PRESET: what CMake noted of another place (the checkout was moved or copied) helps nobody.
drop_moved() {
    local cache=build/$1/CMakeCache.txt home
    [ -f "$cache" ] || return 0
    home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$cache")
    [ "$home" != "$ROOT" ] || return 0
    say "build/$1 was made in $home: it is made anew"
    rm -rf "build/$1"
}

# build PRESET [TARGET...]
build() {
    local preset=$1
    shift
    drop_moved "$preset"
    say "building $preset"
    if [ ! -f "build/$preset/build.ninja" ] || ! cmp -s CMakePresets.json "build/$preset/presets"; then
        cmake --preset "$preset" >"build/$preset.configure.log" 2>&1 || {
            tail -n 20 "build/$preset.configure.log" >&2
            die "CMake cannot configure the preset $preset (the whole text: build/$preset.configure.log)"
        }
        cp CMakePresets.json "build/$preset/presets"
    fi
    cmake --build "build/$preset" -j "$JOBS" ${1:+--target "$@"} >&2
}
