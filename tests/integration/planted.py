"""Keys that are planted in a gateway, and where nobody may find them: whole, and in pieces of twelve bytes in six encodings."""

import base64
import pathlib
import re
from urllib.parse import quote

PIECE = 12
# Each has what percent-encoding changes, and no piece that another one has.
KEYS = {
    "master": "sk-0Qw8/Er7T+y6Ui=5Op4Xc3Vb2Nm1Lk0Jh9",
    "openai": "sk-proj-1As2/Df3G+h4Jk=5Lz6Xx7Cc8Vv9Bb0",
    "azure": "9Zx8/Cv7B+n6Mq=5Wl4Ek3Rj2Th1Yg0Uf9Id8Os7",
    "named": "7Pl6/Ok5I+j4Uh=3Yg2Tf1Rd0Es9Wa8Qz7Xs6Cd5",
    "listed": "3Yh4/Uj5I+k6Ol=7Pa8Qs9Wd0Ef1Rg2Th3Yj4Uk",
    "other": "postgres://u:2Vb3/Nn4M+m5Kk=6Jj7Hh8Gg9@db/m",
}


def base64_cores(piece):
    """What base64 of anything around the piece has in common, for each of the three places where it can begin."""
    cores = []
    for before in range(3):
        text = base64.b64encode(b"\0" * before + piece + b"\0" * 3)
        first = -(-before * 8 // 6)
        last = (before + len(piece)) * 8 // 6
        cores.append(text[first:last])
    return cores


def encodings(piece):
    """Raw, percent (what must be, and all), base64 at three places, hex."""
    yield piece
    yield quote(piece, safe="").encode()
    yield b"".join(b"%%%02X" % byte for byte in piece)
    yield from base64_cores(piece)
    yield piece.hex().encode()
    yield piece.hex().upper().encode()


def pieces(key, step=1):
    raw = key.encode()
    return [raw[at:at + PIECE] for at in range(0, len(raw) - PIECE + 1, step)]


def found(haystack, keys=KEYS, step=1):
    """Names of the keys of which a piece is there, with the piece."""
    hits = []
    for name, key in keys.items():
        needles = {needle for piece in pieces(key, step) for needle in encodings(piece)}
        if re.search(b"|".join(sorted(re.escape(n) for n in needles)), haystack):
            hits.append((name, [n for n in needles if n in haystack][0]))
    return hits


def found_in_memory(haystack, keys=KEYS):
    """The same of much: raw pieces side by side (whoever has 23 bytes in a row has one of them), and base64 of the whole."""
    hits = []
    for name, key in keys.items():
        for piece in pieces(key, PIECE):
            if piece in haystack:
                hits.append((name, piece, context(haystack, piece)))
                break
    return hits


def context(haystack, piece):
    at = haystack.find(piece)
    return haystack[max(0, at - 60):at + 80]


def dumpable_memory(pid):
    """What a core of this process would hold: all that can be read of it but the mappings that are marked "dd" (proc(5), VmFlags).
    A kernel leaves out more (coredump_filter), never less."""
    ranges, where = [], None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ (\S+) (\d+)\s*(.*)", line)
        if head:
            where = (int(head[1], 16), int(head[2], 16), head[3], head[6])
        elif line.startswith("VmFlags:") and "r" in where[2] and where[3] not in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
            if " dd" not in line:
                ranges.append(where)
    out = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, _, name in ranges:
            memory.seek(begin)
            left = end - begin
            while left > 0:
                try:
                    part = memory.read(min(left, 1 << 24))
                except OSError:
                    break
                if not part:
                    break
                out.append(part)
                left -= len(part)
    return b"".join(out)


def processes(gateway):
    """The master, its workers and its prober."""
    return [gateway.pid] + gateway.workers()
