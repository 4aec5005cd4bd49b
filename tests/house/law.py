"""The law of the house: which room may include which.

For each room the real compile flags of the build are taken, and with them the compiler is asked which public headers of
all other rooms it finds: what is not allowed must not be found, what is allowed must be, and can be included. So the
arrows below are what compiles, and no more."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys

COMMON = {"common": "", "json": "common", "jsonl": "common json", "multipart": "common json", "crypto": "common", "jwt": "common json", "upstream": "common json",
          "entra": "common json jwt upstream", "price": "common json", "results": "common", "webhook": "common json"}
BELOW = "common json jsonl multipart crypto jwt upstream entra price results webhook balancer config"
SERVER = {
    "core": "",
    "front": "core",
    "calls": "core",
    "parts": "core",
    "routing": "core",
    "master": "core",
    "tenants": "core",
    "journal": "tenants core",
    "keeper": "manage store journal core",
    "objects": "calls usage journal core",
    "request": "front objects routing calls tenants core",
    "upkeep": "objects routing calls usage journal tenants parts core",
    "usage": "",
    "once": "request objects routing calls journal core",
    "read": "request objects calls journal core",
    "admin": "request journal tenants core",
    "ui": "admin request objects tenants core",
    "create": "once read request objects routing calls journal core",
    "upload": "once read request objects routing calls parts front journal core",
    "worker": "create upload once read ui admin request journal tenants front core",
    "store": "",
    "manage": "store",
    "cli": "master worker upkeep keeper upload request parts store core",
}
ARROWS = {**COMMON, "balancer": "common json jsonl multipart crypto jwt upstream entra price results webhook",
          "config": "common json jsonl multipart crypto jwt upstream entra price results webhook"}
ARROWS.update({room: f"{BELOW} {may}" for room, may in SERVER.items()})
# Who may name libh2o: its internals are the front's, requests and the loop its public face.
NAMES_H2O = ("server/front/", "server/request/", "server/worker/", "server/core/loop_h2o.", "server/core/include/core/loop_h2o.",
             "server/upkeep/prober.c", "server/keeper/keeper.c", "server/cli/check_online.c",
             "server/cli/client.c")


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


def preprocess(command, text):
    return subprocess.run([*command, "-E", "-P", "-x", "c", "-"], input=text, capture_output=True, text=True)


def found_of(command, headers):
    """Which of the headers a room's sources find. One look for all: the compiler is asked, not the list of its folders."""
    asked = "".join(f'#if __has_include("{header}")\n"found {header}"\n#endif\n' for header in headers)
    run = preprocess(command, asked)
    if run.returncode != 0:
        raise SystemExit(f"the compiler does not say what it finds: {run.stderr}")
    return set(re.findall(r'"found (\S+)"', run.stdout))


def judge_room(room, command, headers):
    """@return what is wrong: a header that is found and must not be, one that is not, one that cannot be included."""
    may = [header for header in headers if header.split("/")[0] in ARROWS[room].split()]
    found = found_of(command, headers)
    bad = [f"{room} can include {header}" for header in headers if header in found and header not in may]
    bad += [f"{room} cannot include {header}" for header in may if header not in found]
    if not bad:
        run = preprocess(command, "".join(f'#include "{header}"\n' for header in may))
        bad += [f"{room} may include all of its headers, but: {run.stderr}"] if run.returncode != 0 else []
    return bad


def main(root, build):
    flags, bad, tried = flags_of(root, build), [], 0
    bad += [f"{room}: no source of it is built" for room in ARROWS if room not in flags]
    headers = {room: [f"{room}/{os.path.basename(path)}" for path in public_headers(root, room)] for room in ARROWS}
    for room, command in flags.items():
        others = [header for other in ARROWS if other != room for header in headers[other]]
        tried += len(others)
        bad += judge_room(room, command, others)
    for path in glob.glob(f"{root}/server/**/*.[ch]", recursive=True):
        source = os.path.relpath(path, root)
        if not source.startswith(NAMES_H2O) and re.search(r"\bh2o_\w+\(|#include <h2o", open(path).read()):
            bad.append(f"{source} names libh2o")
    print("\n".join(bad) or f"{tried} includes, as they should be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])))
