"""Ids that somebody made up: each is answered as one that nobody knows, and no provider hears of it."""

import pytest
from harness import balanced_config, envelope
from sealed_ids import BATCH, FILE, MASTER, litellm_batch, litellm_file, mint, native_of, owner_of, place_of, retagged, tag_bytes

SEAL = "seal-one-of-sixteen-bytes"


@pytest.fixture
def world(start, sim):
    """A gateway whose seal key is known, a file and a batch of it, and where they are."""
    gateway = start(balanced_config(sim, tranche_settings={"seal_keys": [SEAL]}), sim=sim)
    file = gateway.uploaded()["id"]
    batch = gateway.created(file)["id"]
    account = next(a for a in ("eu", "us", "sw") if native_of(batch) in [b["id"] for b in sim.ledger(a)["batches"]])
    return gateway, file, batch, account


def flipped(text, at):
    return text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1:]


def forgeries(kind, tagged, other, here, elsewhere):
    """What a stranger can make of an id that he has seen, and of one of the other kind."""
    native, tag = native_of(tagged), tag_bytes(tagged)
    wrong = BATCH if kind == FILE else FILE
    return {
        "another seal key": mint("another-key-of-sixteen-bytes", kind, native, here),
        "another kind": mint(SEAL, wrong, native, here),
        "an account of nobody, sealed": mint(SEAL, kind, native, b"\x01\x02\x03\x04"),
        "the account changed": retagged(native, elsewhere + tag[4:]),
        "the owner changed": retagged(native, tag[:4] + owner_of("team-a") + tag[12:]),
        "another owner made the master": retagged(native, mint_tag(kind, native, here, owner_of("team-a"))),
        "a native id under a strange tag": retagged(native + "x", tag),
        "the tag of the other object": retagged(native, tag_bytes(other)),
        "the seal cut to zeroes": retagged(native, tag[:12] + bytes(8)),
        "a tag twice": retagged(tagged, tag),
        "a tag alone": retagged("", tag),
        "first character": flipped(tagged, 0),
        "last character": flipped(tagged, len(tagged) - 1),
        "too long": "f" * 513,
        "a path": "..",
        "LiteLLM's, forged inside": (litellm_file if kind == FILE else litellm_batch)(flipped(tagged, len(tagged) - 1), "x"),
        "LiteLLM's, another kind": (litellm_batch if kind == FILE else litellm_file)(native, "x"),
        "LiteLLM's, of its database": litellm_file("", "x"),
    }


def mint_tag(kind, native, place, owner):
    """The seal of another owner's id under the master key's name."""
    tag = tag_bytes(mint(SEAL, kind, native, place, owner))
    return tag[:4] + MASTER + tag[12:]


def calls(kind, id_):
    if kind == FILE:
        return [("GET", f"/v1/files/{id_}"), ("DELETE", f"/v1/files/{id_}"), ("GET", f"/v1/files/{id_}/content"),
                ("HEAD", f"/v1/files/{id_}/content"), ("GET", f"/azure/v1/files/{id_}")]
    return [("GET", f"/v1/batches/{id_}"), ("POST", f"/v1/batches/{id_}/cancel"), ("GET", f"/azure/v1/batches/{id_}")]


def shape(answer):
    """All of the head that may tell ids apart."""
    changing = {"date", "x-request-id", "x-litellm-call-id", "content-length"}
    return answer.status, {k: v for k, v in answer.headers.items() if k not in changing}, sorted(answer.headers)


def test_the_rules_of_tags_are_known_to_these_tests(world, sim):
    gateway, file, batch, account = world
    assert mint(SEAL, FILE, native_of(file), place_of(sim.base(account))) == file
    assert mint(SEAL, BATCH, native_of(batch), place_of(sim.base(account))) == batch


@pytest.mark.parametrize("kind", [FILE, BATCH], ids=["file", "batch"])
def test_what_was_made_up_is_answered_like_what_nobody_knows_and_no_provider_is_asked(world, sim, kind):
    gateway, file, batch, account = world
    other = next(a for a in ("eu", "us", "sw") if a != account)
    here, elsewhere = place_of(sim.base(account)), place_of(sim.base(other))
    unknown = "file-unknown" if kind == FILE else "batch_unknown"
    wanted = [gateway.request(method, target) for method, target in calls(kind, unknown)]
    before = len(sim.requests())
    for what, id_ in forgeries(kind, *((file, batch) if kind == FILE else (batch, file)), here, elsewhere).items():
        if id_ in (".", ".."):  # another path after normalising, for every client: sent escaped
            id_ = id_.replace(".", "%2E")
        for (method, target), known in zip(calls(kind, id_), wanted):
            answer = gateway.request(method, target)
            assert shape(answer) == shape(known), (what, method, target)
            if method == "HEAD":
                continue
            shown = id_.replace("%2E", ".") if id_ != "f" * 513 else ""
            assert answer.json() == {"error": {**known.json()["error"],
                                               "message": known.json()["error"]["message"].replace(unknown, shown)}}, what
    assert len(sim.requests()) == before
    assert sim.created("batches") == 1


def test_a_batch_of_a_made_up_file_is_not_created_and_no_provider_is_asked(world, sim):
    gateway, file, batch, account = world
    other = next(a for a in ("eu", "us", "sw") if a != account)
    unknown = envelope(gateway.get("/v1/files/file-unknown"), 404)
    before = len(sim.requests())
    for what, id_ in forgeries(FILE, file, batch, place_of(sim.base(account)), place_of(sim.base(other))).items():
        error = envelope(gateway.create(id_), 404)
        assert (error["type"], error["code"], error["param"]) == (unknown["type"], unknown["code"], unknown["param"]), what
    assert len(sim.requests()) == before
    assert sim.created("batches") == 1


def test_the_master_opens_what_is_sealed_for_another_owner(world, sim):
    """It sees all, under the ids that their owners know (tenants: test_tenant_objects.py)."""
    gateway, file, batch, account = world
    for owner in (MASTER, owner_of("team:a")):
        for kind, id_, path in ((FILE, file, "files"), (BATCH, batch, "batches")):
            sealed = mint(SEAL, kind, native_of(id_), place_of(sim.base(account)), owner)
            assert gateway.get(f"/v1/{path}/{sealed}").json()["id"] == sealed
