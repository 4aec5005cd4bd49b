"""The law of the house: which room may include which.

For each room the real compile flags of the build are taken, and of every other room one public header is included with
them: what is not allowed must not be found, what is allowed must be. So the arrows below are what compiles, and no
more."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys

COMMON = {"common": "", "json": "common", "jsonl": "common json", "multipart": "common json", "crypto": "common", "jwt": "common json", "upstream": "common json"}
BELOW = "common json jsonl multipart crypto jwt upstream balancer config"
SERVER = {
    "core": "",
    "front": "core",
    "calls": "core",
    "routing": "core",
    "master": "core",
    "tenants": "core",
    "keeper": "manage store core",
    "objects": "calls core",
    "request": "front objects routing calls tenants core",
    "upkeep": "objects calls core",
    "once": "request objects routing calls core",
    "read": "request objects calls core",
    "admin": "request tenants core",
    "create": "once read request objects routing calls core",
    "upload": "once read request objects routing calls front core",
    "worker": "create upload once read admin request tenants front core",
    "store": "",
    "manage": "store",
    "cli": "master worker upkeep keeper upload request store core",
}
ARROWS = {**COMMON, "balancer": "common json jsonl multipart crypto jwt upstream", "config": "common json jsonl multipart crypto jwt upstream"}
ARROWS.update({room: f"{BELOW} {may}" for room, may in SERVER.items()})
# Who may name libh2o: its internals are the front's, requests and the loop its public face.
NAMES_H2O = ("server/front/", "server/request/", "server/worker/", "server/core/loop_h2o.", "server/core/include/core/loop_h2o.",
             "server/upkeep/prober.c", "server/keeper/keeper.c")


def folder(room):
    if room in SERVER:
        return f"server/{room}"
    return room if room in ("common", "balancer", "config") else f"common/{room}"


def public_headers(root, room):
    return sorted(glob.glob(f"{root}/{folder(room)}/include/{room}/*.h"))


def flags_of(root, build):
    """By room: the compile command of one of its sources, without its source and output."""
    found = {}
    for entry in json.load(open(f"{build}/compile_commands.json")):
        source = os.path.relpath(entry["file"], root)
        where = os.path.dirname(source)
        for room in ARROWS:
            if where == folder(room) and room not in found and not source.endswith("cli/main.c"):
                words = shlex.split(entry["command"])
                found[room] = [w for i, w in enumerate(words) if w not in ("-c", "-o", "ccache", entry["file"]) and words[i - 1] != "-o"]
    return found


def is_found(command, header):
    run = subprocess.run([*command, "-E", "-x", "c", "-", "-o", os.devnull], input=f'#include "{header}"\n', capture_output=True, text=True)
    missing = re.search(r"fatal error: (\S+): No such file", run.stderr)
    if missing and missing.group(1) != header:
        raise SystemExit(f"{header} cannot be included: it includes {missing.group(1)} itself")
    return run.returncode == 0


def main(root, build):
    flags, bad, tried = flags_of(root, build), [], 0
    bad += [f"{room}: no source of it is built" for room in ARROWS if room not in flags]
    for room, command in flags.items():
        for other in ARROWS:
            headers = public_headers(root, other)
            if other == room or not headers:
                continue
            for header in headers if other in ARROWS[room].split() else headers[:1]:
                tried += 1
                may = other in ARROWS[room].split()
                if is_found(command, f"{other}/{os.path.basename(header)}") != may:
                    bad.append(f"{room} {'cannot' if may else 'can'} include {other}/{os.path.basename(header)}")
    for path in glob.glob(f"{root}/server/**/*.[ch]", recursive=True):
        source = os.path.relpath(path, root)
        if not source.startswith(NAMES_H2O) and re.search(r"\bh2o_\w+\(|#include <h2o", open(path).read()):
            bad.append(f"{source} names libh2o")
    print("\n".join(bad) or f"{tried} includes, as they should be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])))
