"""What is true of every batch file, tried on thousands that a seed makes; Python's own json is the referee."""

import json
import os
import random
import re
import unicodedata

import pytest
from harness import GROUP, PROVIDER_KEYS, azure_deployment, balanced_config, direct_config, http_request
from wire import H1, H2, SLICE, cut, make_door, stored, wire_certificate  # noqa: F401

SEED = int(os.environ.get("TRANCHE_TEST_SEED", "20261122"))
def azure_alone(sim):
    """Azure takes urls of both forms; nobody balances."""
    config = direct_config(sim)
    config["files_settings"] = [row for row in config["files_settings"] if row["custom_llm_provider"] == "azure"]
    return config


ENDPOINTS = ["/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations",
             "/v1/images/generations", "/v1/images/edits", "/v1/videos", "/responses", "/chat/completions", "/embeddings", "/completions"]
SPECIAL = ("custom_id", "method", "url", "body")
HEAD = (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name="file"; '
        b'filename="a.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n')
FORM = "multipart/form-data; boundary=b"


def form(data):
    return HEAD + data + b"\r\n--b--\r\n"


# --- files that are right, in every spelling ---

ALPHABET = ["a", "Z", "0", " ", '"', "\\", "/", "{", "}", "[", "]", ":", ",", "model", "body", "\u00e9", "\u00df", "\u0416", "\u0e01", "\u20ac",
            "\u65e5", "\ud7ff", "\ue000", "\uffff", "\U0001f600", "\U0010ffff", "\u2028", "\x7f", "\n", "\t", "\r", "\b", "\f", "\x01", "\x00",
            '"model":"x"', "\\u0041"]
SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f", "/": "\\/"}


class Writer:
    """Random JSON text: the same value in any of its spellings."""

    def __init__(self, rng):
        self.rng = rng

    def blank(self):
        return self.rng.choice(["", "", "", " ", "\t", "  ", " \t "])

    def char(self, c, plain):
        how = 0 if plain else self.rng.random()
        if how < 0.6 and c not in '"\\' and ord(c) >= 0x20:
            return c
        if c in SHORT and how < 0.8:
            return SHORT[c]
        code = ord(c)
        units = [code] if code < 0x10000 else [0xd800 + (code - 0x10000 >> 10), 0xdc00 + (code - 0x10000 & 0x3ff)]
        return "".join((f"\\u{u:04x}" if self.rng.random() < 0.5 else f"\\u{u:04X}") for u in units)

    def string(self, value):
        plain = self.rng.random() < 0.7
        return '"' + "".join(self.char(c, plain) for c in value) + '"'

    def text(self, most=8):
        return "".join(self.rng.choice(ALPHABET) for _ in range(self.rng.randrange(most)))

    def number(self):
        return self.rng.choice(["0", "-0", "1", "-17", "1.0", "0.5e-3", "1E+5", "1e400", "-0.0", "123456789012345678901234567890",
                                "3.14159265358979323846264338327950288", str(self.rng.randrange(10**9))])

    def value(self, depth=3):
        pick = self.rng.randrange(8 if depth else 5)
        if pick < 2:
            return self.string(self.text())
        if pick < 4:
            return self.number()
        if pick == 4:
            return self.rng.choice(["true", "false", "null"])
        if pick == 5:
            return "[" + ",".join(self.blank() + self.value(depth - 1) + self.blank() for _ in range(self.rng.randrange(4))) + self.blank() + "]"
        return self.object([(self.key(), self.value(depth - 1)) for _ in range(self.rng.randrange(4))])

    def key(self):
        """Of any kind; those with a meaning elsewhere too, because only their place gives it to them."""
        return self.rng.choice(["a", "b", "model", "body", "custom_id", "url", "method", "Model", "", "content", "role", self.text(4)])

    def object(self, members):
        return "{" + ",".join(self.blank() + self.string(k) + self.blank() + ":" + self.blank() + v + self.blank()
                              for k, v in members) + (self.blank() if not members else "") + "}"

    def others(self, names):
        """Members that mean nothing here; they may even stand twice."""
        free = [k for k in (self.key() for _ in range(self.rng.randrange(4))) if k not in names]
        return [(k, self.value()) for k in free + free[:self.rng.randrange(2)]]


MARK = "\ufdd0MODEL\ufdd0"  # stands for the value of body.model until it is written


def line(w, custom_id, url, marked=True):
    body = w.others(("model",)) + ([("model", MARK)] if marked else []) + [("messages", w.value())]
    w.rng.shuffle(body)
    members = w.others(SPECIAL) + [("custom_id", w.string(custom_id)), ("method", w.string("POST")), ("url", w.string(url)),
                                   ("body", w.object(body))]
    w.rng.shuffle(members)
    return w.blank() + w.object(members) + w.blank()


def template(rng, rows=None):
    """A right file with marks where body.model's values go, as text; and the model's spelling in each line."""
    w = Writer(rng)
    rows = rows or rng.randrange(1, 7)
    url = rng.choice(ENDPOINTS)
    ids = set()
    while len(ids) < rows:
        ids.add(rng.choice(["id", "\u00e9", "a b", "x" * 70, "1", '"', "\\"]) + str(rng.randrange(1000)))
    ids = sorted(ids)
    rng.shuffle(ids)
    ends = ["\r\n" if rng.random() < 0.2 else "\n" for _ in ids]
    if rng.random() < 0.3:
        ends[-1] = ""
    elif rng.random() < 0.3:
        ends[-1] += rng.choice(["\n", "\r\n", "\n\n\r\n"])
    return [line(w, i, url) + end for i, end in zip(ids, ends)]


def written(rng, rows, model):
    w = Writer(rng)
    return "".join(row.replace(MARK, w.string(model)) for row in rows).encode()


def canonical(rows, model):
    return "".join(row.replace(MARK, json.dumps(model)) for row in rows).encode()


# --- the referee ---

class Pairs(list):
    """An object with its members in order, the repeated ones too."""


class NotSure(Exception):
    """The contract leaves this open."""


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, Pairs):
        for k, v in value:
            yield from strings(k)
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


def refuse(name):
    raise ValueError(name)


class Number(str):
    """A number as it is spelled."""


def parsed(text):
    return json.loads(text, object_pairs_hook=Pairs, parse_constant=refuse, parse_float=Number, parse_int=Number)


def depth(value):
    if isinstance(value, Pairs):
        return 1 + max([depth(v) for _, v in value], default=0)
    return 1 + max([depth(v) for v in value], default=0) if isinstance(value, list) else 0


def one(pairs, key):
    found = [v for k, v in pairs if k == key]
    if len(found) > 1:
        raise ValueError(f"{key} twice")
    return found[0] if found else None


def printable(text):
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text):
        raise NotSure("control characters in a name")
    return text


def judge_line(raw, seen):
    value = parsed(raw.decode("utf-8"))
    if not isinstance(value, Pairs):
        raise ValueError("no object")
    if any(0xd800 <= ord(c) <= 0xdfff for s in strings(value) for c in s):
        raise ValueError("half a surrogate pair")
    if depth(value) > 40:
        raise NotSure("deep")
    got = {k: one(value, k) for k in SPECIAL}
    for key in ("custom_id", "method", "url"):
        if not isinstance(got[key], str) or isinstance(got[key], Number) or not got[key]:
            raise ValueError(key)
    if got["method"] != "POST" or got["url"] not in ENDPOINTS or got["url"] != seen.setdefault("url", got["url"]):
        raise ValueError("method or url")
    if not isinstance(got["body"], Pairs):
        raise ValueError("body")
    model = one(got["body"], "model")
    has = any(k == "model" for k, _ in got["body"])
    if has and (not isinstance(model, str) or isinstance(model, Number) or not model):
        raise ValueError("model")
    if seen.setdefault("model", model) != model:
        raise ValueError("another model")
    if printable(got["custom_id"]) in seen.setdefault("ids", set()):
        raise ValueError("custom_id twice")
    if has:
        printable(model)
    seen["ids"].add(got["custom_id"])


def judge(data):
    """(0, facts) for a right file, else (line of the first mistake, None). NotSure where the contract is open."""
    rows = [r[:-1] if r.endswith(b"\r") else r for r in data.split(b"\n")]
    while rows and rows[-1] == b"":
        rows.pop()
    if not rows:
        return 1, None
    if any(not r.strip(b" \t\r") for r in rows):
        if any(r for r in rows if not r.strip(b" \t\r")):
            raise NotSure("a line of blanks")
    seen = {}
    for number, raw in enumerate(rows, 1):
        try:
            judge_line(raw, seen)
        except (ValueError, RecursionError):
            return number, None
    if seen["model"] is None:
        raise NotSure("no line has a model: it depends on provider and url, and is said of the whole file")
    return 0, {"lines": len(rows), "bytes": len(data), "model": seen["model"], "url": seen["url"]}


# --- mistakes ---

TOKENS = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\xe2\x82", b"\x00", b"\x1f", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\\",
          b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\u12", b"\\ud83d", b"\\ude00", b"\\ud83d\\ude00", b"\\x41", b"NaN", b"-Infinity", b"1.", b".5", b"01",
          b"+1", b"1e", b"0x10", b"'a'", b"//", b"/**/", b"tru", b"nul", b"True", b" ", b"\t", b"\x0b", b"\xc2\xa0", b'"model":"other",', b'"body":{},',
          b'"custom_id":"x",', b'"model":null', b'"url":"/v1/embeddings",', b"POST", b"GET", b",,", b",}", b"{}", b"[]", b"null", b"\xe2\x80\xa8"]


def damage(rng, data):
    """One small mistake, of the kinds that people and programs make."""
    at = rng.randrange(len(data) + 1)
    to = min(len(data), at + rng.choice([1, 1, 1, 2, 5, 20]))
    how = rng.randrange(9)
    rows = data.split(b"\n")
    if how == 0:
        return data[:at] + data[to:]
    if how in (1, 2):
        return data[:at] + rng.choice(TOKENS) + data[at:]
    if how in (3, 4):
        return data[:at] + rng.choice(TOKENS) + data[to:]
    if how == 5:
        return data[:at] + data[at:to] * 2 + data[to:]
    if how == 6:
        return data[:at] if rng.random() < 0.3 else data[:at] + bytes([rng.randrange(256)]) + data[at + 1:]
    if how == 7:
        rng.shuffle(rows)
        return b"\n".join(rows)
    return b"\n".join(rows + [rng.choice(rows)])


# --- the program ---

class Checker:
    """One connection that validates file after file."""

    def __init__(self, port):
        self.conn = H1(port)

    def report(self, data, pieces=None):
        body = form(data)
        self.conn.request("POST", "/v1/files/validate", {"Content-Type": FORM}, "chunked" if pieces else len(body))
        for piece in cut(body, pieces or [SLICE]):
            self.conn.send(piece)
        self.conn.finish()
        answer = self.conn.answer()
        assert answer.status == 200, answer
        return answer.json()


@pytest.fixture
def checker(make_door, sim):
    door = make_door("h1", azure_alone(sim), workers=1)
    checker = Checker(door.gateway.port)
    checker.door = door
    yield checker
    checker.conn.close()
    assert sim.requests() == [], "something was sent upstream"


def test_every_spelling_of_a_right_file_is_accepted(checker):
    rng = random.Random(SEED)
    for number in range(300):
        rows = template(rng)
        model = rng.choice(["gpt-4o", "m", "gr\u00f6\u00dfe", "a/b:c", 'quo"te', "back\\slash"])
        data = written(rng, rows, model)
        where, facts = judge(data)
        assert where == 0, (number, data)
        report = checker.report(data)
        assert report["valid"] and report["errors"] == [], (number, data, report)
        assert {k: report[k] for k in facts} == facts, (number, data)
        assert report["estimated_tokens"] >= 0


def test_the_program_and_the_referee_agree_on_damaged_files(checker):
    """Accepted exactly when the referee accepts, and the first mistake is in the line that the referee names."""
    rng = random.Random(SEED + 1)
    accepted = refused = unsure = 0
    for number in range(2500):
        data = written(rng, template(rng), "gpt-4o")
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            data = damage(rng, data)
        try:
            where, facts = judge(data)
        except NotSure:
            unsure += 1
            checker.report(data)  # whatever it says, it says it
            continue
        report = checker.report(data)
        assert report["valid"] == (where == 0), f"file {number}: the referee says {where}, the program {report}: {data!r}"
        if where:
            refused += 1
            assert report["errors"][0]["line"] == where, f"file {number}: the referee says line {where}, the program {report}: {data!r}"
            assert [e["line"] for e in report["errors"]] == sorted(e["line"] for e in report["errors"]) and len(report["errors"]) <= 50
            for error in report["errors"]:
                assert error["column"] >= 1 and error["code"] and not re.search(r"[\x00-\x1f\x7f-\x9f]", error["message"]), report
        else:
            accepted += 1
            assert {k: report[k] for k in facts} == facts, (number, data)
    assert accepted > 250 and refused > 750 and unsure < 500, (accepted, refused, unsure)


def test_pieces_of_any_size_give_the_same_verdict(checker):
    rng = random.Random(SEED + 2)
    files = []
    for number in range(60):
        data = written(rng, template(rng), "gpt-4o")
        files.append(damage(rng, data) if number % 2 else data)
    files.append(b"\xef\xbb\xbf" + files[0])
    whole = [checker.report(data) for data in files]
    for data, wanted in zip(files, whole):
        for pieces in ([1], [rng.randrange(1, 10) for _ in range(500)], [rng.randrange(1, 300) for _ in range(50)], [len(HEAD) + 1, 1, 1, 1]):
            assert checker.report(data, pieces) == wanted, (pieces[:10], data)
    with H2(checker.door.gateway.port) as conn:
        for data, wanted in zip(files, whole):
            stream = conn.request("POST", "/v1/files/validate", {"Content-Type": FORM}, end=False)
            for piece in cut(form(data), [rng.randrange(1, 200) for _ in range(50)]):
                conn.send(stream, piece)
            conn.finish(stream)
            assert conn.answer(stream).json() == wanted, data


def test_an_upload_is_refused_exactly_when_validation_says_so(make_door, sim):
    """The same first problem in words; what is accepted is at the provider, once."""
    door = make_door("h1", azure_alone(sim), workers=1)
    checker = Checker(door.gateway.port)
    rng = random.Random(SEED + 3)
    right = 0
    for number in range(150):
        data = written(rng, template(rng), "gpt-4o-mini")
        if number % 3:
            data = damage(rng, data)
        report = checker.report(data)
        first, every = (door.upload(form(data), FORM, target, check=False) for target in ("/v1/files", "/v1/files?validate=all"))
        if report["valid"]:
            right += 1
            assert (first.status, every.status) == (200, 200), (data, first)
            continue
        problem = report["errors"][0]
        for answer in (first, every):
            error = answer.json()["error"]
            assert answer.status == 400 and error["param"] == "file" and error["code"] == problem["code"], (data, answer)
            if problem["line"] is not None:
                assert error["message"].startswith(f"Line {problem['line']}, column {problem['column']}"), (answer, problem)
            assert problem["message"] in error["message"]
        assert every.json()["error"]["errors"] == report["errors"] and "errors" not in first.json()["error"]
    assert 40 < right < 120
    assert len(stored(sim)) == 2 * right
    checker.conn.close()


# --- the splice ---

GROUPS = {"g": "eu", GROUP: "eu", "a-much-longer-name-than-that-of-the-deployment": "us", "gr\u00f6\u00dfe \u65e5\u672c": "sw", 'quo"ted\\name': "us",
          "gpt-4o-batch-eu": "eu"}


@pytest.fixture
def spliced(make_door, sim):
    config = balanced_config(sim)
    config["model_list"] = [azure_deployment(sim, account, group=group) for group, account in GROUPS.items()]
    return make_door("h1", config, workers=1)


def at_provider(sim, account):
    """The bytes of the newest file that the simulator has, asked without the gateway."""
    file = sim.ledger(account)["files"][-1]
    return http_request(sim.ports[account], "GET", f"/openai/files/{file['id']}/content?api-version=2024-10-21",
                        headers={"api-key": PROVIDER_KEYS[account]}).body


def test_only_the_value_of_body_model_changes_in_any_file(spliced, sim):
    rng = random.Random(SEED + 4)
    for number in range(120):
        sim.reset()
        group, account = rng.choice(list(GROUPS.items()))
        rows = template(rng)
        data = written(rng, rows, group)
        answer = spliced.upload(form(data), FORM, framing=rng.choice(["length", "chunked"]),
                                pieces=[rng.randrange(1, 2000) for _ in range(100)])
        assert answer.status == 200, (number, data, answer)
        got = at_provider(sim, account)
        assert got == canonical(rows, f"gpt-4o-batch-{account}"), (number, data)
        for before, after in zip(data.split(b"\n"), got.split(b"\n")):  # and an independent parser sees the same objects
            if before.strip():
                old, new = parsed(before.decode()), parsed(after.decode())
                assert one(one(new, "body"), "model") == f"gpt-4o-batch-{account}"
                assert without_model(old) == without_model(new)


def without_model(row):
    return [(k, [m for m in v if m[0] != "model"] if k == "body" else v) for k, v in row]


def test_splicing_twice_with_the_same_name_is_splicing_once(spliced, sim):
    rng = random.Random(SEED + 5)
    for _ in range(30):
        sim.reset()
        data = written(rng, template(rng), GROUP)
        assert spliced.upload(form(data), FORM).status == 200
        once = at_provider(sim, "eu")
        assert spliced.upload(form(once), FORM).status == 200  # its model now names the group gpt-4o-batch-eu
        assert len(sim.ledger("eu")["files"]) == 2
        assert at_provider(sim, "eu") == once


def test_without_a_name_to_change_not_a_byte_changes(make_door, sim):
    door = make_door("h1", azure_alone(sim), workers=1)
    rng = random.Random(SEED + 6)
    for _ in range(40):
        sim.reset()
        data = written(rng, template(rng), "gpt-4o-mini")
        assert door.upload(form(data), FORM).status == 200
        assert at_provider(sim, "eu") == data


@pytest.mark.parametrize("group", ["g", "a-much-longer-name-than-that-of-the-deployment"])
def test_a_name_on_any_seam_of_the_buffers_is_changed(spliced, sim, group):
    """The value begins at each offset around the 64 KiB where memory becomes a file and pieces are cut."""
    account = GROUPS[group]
    row = '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"messages":"%s","model":' + MARK + "}}\n"
    empty = row % ("first", "")
    for seam in (65536, 131072):
        for offset in range(-26, 6) if seam == 65536 else range(-26, 6, 4):
            pad = "x" * (seam + offset - empty.index(MARK))
            text = row % ("first", pad) + "".join(row % (n, "y" * 700) for n in range(200))
            sim.reset()
            assert spliced.upload(form(text.replace(MARK, json.dumps(group)).encode()), FORM).status == 200
            assert at_provider(sim, account) == text.replace(MARK, f'"gpt-4o-batch-{account}"').encode(), (seam, offset)


def test_long_lines_are_spliced_and_too_long_ones_named(make_door, sim):
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"limits": {"max_line_bytes": 1_000_000}})
    door = make_door("h1", config, workers=1)
    head, tail = '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"a":"', '","model":' + MARK + ',"b":1}}'
    for size in (999_999, 1_000_000, 1_000_001):
        fill = size - len(head % "a") - len(tail) + len(MARK) - len(json.dumps(GROUP))
        text = head % "b" + tail + "\n" + head % "a" + "z" * fill + tail + "\n"
        answer = door.upload(form(text.replace(MARK, json.dumps(GROUP)).encode()), FORM)
        if size > 1_000_000:
            error = answer.json()["error"]
            assert (answer.status, error["code"]) == (400, "line_too_long") and "line 2" in error["message"].lower(), answer
        else:
            assert answer.status == 200, answer
            assert at_provider(sim, "eu") == text.replace(MARK, '"gpt-4o-batch-eu"').encode()


@pytest.mark.parametrize("spelled", ['"id\\u0031"', '"\\u0069d1"', '"i\\u00641"'])
def test_ids_are_compared_as_they_read(checker, spelled):
    row = b'{"custom_id":%s,"method":"POST","url":"/v1/embeddings","body":{"model":"m"}}\n'
    report = checker.report(row % b'"id1"' + row % b'"id2"' + row % spelled.encode())
    assert [(e["line"], e["field"], e["code"]) for e in report["errors"]] == [(3, "custom_id", "duplicate_custom_id")]


def test_a_hundred_thousand_ids_and_one_of_them_twice(checker):
    rows = [b'{"custom_id":"row-%d","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}\n' % n for n in range(49_999)]
    report = checker.report(b"".join(rows))
    assert report["valid"] and report["lines"] == 49_999
    for first, second in ((0, 49_998), (30_000, 30_001)):
        copy = list(rows)
        copy[second] = copy[first]
        report = checker.report(b"".join(copy))
        assert [(e["line"], e["code"]) for e in report["errors"]] == [(second + 1, "duplicate_custom_id")]
