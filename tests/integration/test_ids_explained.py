"""`tranche id`: what an operator is told of an id, without a gateway and without a provider."""

import json
import socket
import subprocess
import time

import pytest
from harness import MASTER_KEY, PATIENCE, PROVIDER_KEYS, balanced_config, find_binary, program_env
from sealed_ids import BATCH, FILE, UPLOAD, b64, fingerprint, litellm_batch, litellm_encoded, litellm_file, mint, owner_of, place_of

NEW, OLD = "seal-new-of-sixteen-bytes", "seal-old-of-sixteen-bytes"
EU = "https://eu.example.openai.azure.com"
HERE = place_of(EU)


def config(**more):
    row = {"model_name": "gpt-4o-batch", "model_info": {"id": "id-of-eu", "mode": "batch"},
           "litellm_params": {"model": "azure/d", "api_base": EU, "api_key": PROVIDER_KEYS["eu"]}}
    return {"model_list": [row], "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
            "tranche_settings": {"seal_keys": [NEW, OLD]}, "general_settings": {"master_key": MASTER_KEY}, **more}


@pytest.fixture
def explain(tmp_path):
    def run(id_, values=None, first=False):
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(values or config()))
        args = ["--config", str(path), id_] if first else [id_, f"--config={path}"]
        done = subprocess.run([find_binary("tranche"), "id", *args], env=program_env(), capture_output=True, text=True,
                              timeout=PATIENCE, stdin=subprocess.DEVNULL)
        for secret in (NEW, OLD, MASTER_KEY, PROVIDER_KEYS["eu"]):
            assert secret not in done.stdout + done.stderr
        told = dict(line.split(None, 1) if not line.startswith(("native id", "it claims")) else
                    (line[:9], line[9:].strip()) for line in done.stdout.splitlines())
        return done.returncode, told, done

    return run


@pytest.mark.parametrize("kind, name, native", [(FILE, "file", "file-abc"), (BATCH, "batch", "batch_abc")])
def test_an_id_of_ours_tells_kind_place_owner_and_seal(explain, kind, name, native):
    code, told, done = explain(mint(NEW, kind, native, HERE))
    assert code == 0, done
    assert (told["kind"], told["native id"]) == (name, native)
    assert "eu.example.openai.azure.com" in told["account"] and EU in told["account"] and "azure" in told["account"]
    assert told["owner"] == "0000000000000000 (the master key)"
    assert told["seal"].startswith("1 of 2, which mints")


def test_the_seal_that_verified_and_another_owner_are_told(explain):
    code, told, done = explain(mint(OLD, FILE, "file-abc", HERE, owner_of("team:nobody")), first=True)
    assert code == 0, done
    assert told["seal"].startswith("2 of 2, which only opens")
    assert told["owner"].startswith(owner_of("team:nobody").hex()) and "stands in no file" in told["owner"]


@pytest.mark.parametrize("name, shown", [("team:red", "the team red"), ("team:blue", "the team blue"), ("key:k-1", "the key laptop")])
def test_the_owner_is_named_as_the_configuration_names_it(explain, name, shown):
    hashes = ["sha256:" + c * 64 for c in "ab"]
    keys = [{"hash": hashes[0], "key_alias": "service", "team_id": "blue", "models": ["*"]},
            {"hash": hashes[1], "key_alias": "laptop", "id": "k-1", "models": ["*"]}]
    values = config(tranche_settings={"seal_keys": [NEW, OLD], "keys": keys, "teams": [{"team_id": "red", "models": ["*"]}]})
    code, told, done = explain(mint(NEW, FILE, "file-abc", HERE, owner_of(name)), values)
    assert code == 0, done
    assert f"({shown}; the master key and admin keys open it, too" in told["owner"]
    assert not any(h[7:] in done.stdout + done.stderr for h in hashes)


@pytest.mark.parametrize("key, number", [(NEW, 1), (OLD, 2)])
def test_an_id_of_an_older_version_opens_and_is_told_as_one(explain, key, number):
    code, told, done = explain(mint(key, FILE, "file-abc", HERE, old=True))
    assert code == 0, done
    assert told["seal"].startswith(f"{number} of 2, as older versions made of it, which only opens")


@pytest.mark.parametrize("id_, why, claim", [
    (mint("a-third-key-of-sixteen-bytes", FILE, "file-abc", HERE), "no seal key of this configuration (2)", "eu.example"),
    (mint(NEW, FILE, "file-abc", HERE)[1:], "no seal key", "eu.example"),
    (mint("other", FILE, "file-abc", place_of("https://us.example")), "no seal key", place_of("https://us.example").hex()),
    ("file/abc", "no id", None), ("f" * 513, "no id", None), ("..", "no id", None), ("", "no id", None)])
def test_a_refused_id_tells_why_and_what_it_claims(explain, id_, why, claim):
    code, told, done = explain(id_)
    assert code == 1, done
    assert why in told["refused"]
    assert claim is None or claim in told["it claims"]


def test_an_account_that_is_not_configured_is_named_by_its_fingerprint(explain):
    gone = place_of("https://gone.example")
    code, told, done = explain(mint(NEW, BATCH, "batch_abc", gone))
    assert code == 1, done
    assert gone.hex() in told["account"] and "404" in told["refused"] and told["kind"] == "batch"


def test_a_native_id_is_for_the_master_key(explain):
    code, told, done = explain("file-7Qw2LmZp0aBcDeFgHiJkLm")
    assert code == 0 and told["native id"] == "file-7Qw2LmZp0aBcDeFgHiJkLm" and "master key and admin keys only" in told["owner"], done


@pytest.mark.parametrize("id_, kind, form", [
    (litellm_encoded("batch_abc", "gpt-4o-batch"), "batch", "encoded"), (litellm_file("file-abc", "id-of-eu"), "file", "managed"),
    (litellm_batch("batch_abc", "id-of-eu"), "batch", "managed"),
    (b64("litellm_proxy:passthrough;provider:azure;unified_id,1;raw_id,file-abc"), "file", "passthrough")])
def test_litellms_ids_are_taken_apart(explain, id_, kind, form):
    code, told, done = explain(id_)
    assert code == 0, done
    assert (told["form"], told["kind"]) == (f"LiteLLM's, {form}", kind)
    assert told["native id"] == ("file-abc" if kind == "file" else "batch_abc")
    if form == "managed":
        assert told["model"] == "id-of-eu" and EU in told["account"]


def test_litellms_ids_that_name_nothing_here_are_refused(explain):
    code, told, done = explain(b64("litellm_proxy:application/json;unified_id,c4843482"))
    assert code == 1 and "LiteLLM's database" in told["refused"], done


def test_without_any_key_nothing_sealed_can_be_told(explain):
    values = config(general_settings={}, tranche_settings={})
    code, told, done = explain(mint(NEW, FILE, "file-abc", HERE), values)
    assert code == 1 and "neither tranche_settings.seal_keys nor a master key" in told["refused"], done
    assert explain("file-abc", values)[0] == 0


def test_the_master_keys_own_seal_is_used_when_there_is_no_other(explain):
    code, told, done = explain(mint(MASTER_KEY, FILE, "file-abc", HERE), config(tranche_settings={}))
    assert code == 0 and told["seal"].startswith("1 of 1"), done


def test_a_wrong_command_line_or_configuration_explains_nothing(explain):
    for args in (["id"], ["id", "file-a", "file-b"], ["id", "file-a", "--no-such-flag"]):
        done = subprocess.run([find_binary("tranche"), *args], env=program_env({"OPENAI_API_KEY": "k"}), capture_output=True,
                              text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        assert done.returncode == 2 and done.stderr, done
    code, told, done = explain("file-abc", {"model_list": "no list"})
    assert code == 2 and "model_list" in done.stderr, done


def upload(begun, address="127.0.0.1:4000", owner="team:red", machine=None, native=None):
    node = fingerprint(4, "tranche deployment 1", "node", machine or socket.gethostname(), address)
    return mint(NEW, UPLOAD, native or f"upload_{begun:08x}{12345:010x}{'ab' * 12}", node, owner_of(owner))


AT_HOME = {**config(), "tranche_settings": {"seal_keys": [NEW], "host": "127.0.0.1", "port": 4000}}


def test_an_uploads_id_tells_its_begin_its_bytes_and_its_node(explain):
    now = int(time.time())
    code, told, done = explain(upload(now), AT_HOME)
    assert code == 0 and "refused" not in told, done
    assert told["kind"] == "upload" and told["native id"].startswith("upload_")
    assert told["begun"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)) + ", for a file of 12345 bytes"
    assert told["node"].endswith("which is this machine at 127.0.0.1:4000")
    assert told["owner"].startswith(owner_of("team:red").hex()) and told["seal"].startswith("1 of 1, which mints")


@pytest.mark.parametrize("other", [{"address": "127.0.0.1:4001"}, {"machine": "another-machine"}], ids=["port", "machine"])
def test_an_upload_of_another_node_is_told(explain, other):
    code, told, done = explain(upload(int(time.time()), **other), AT_HOME)
    assert code == 0, done
    assert told["node"].endswith("which is not this machine at 127.0.0.1:4000: there the answer is 404 upload_elsewhere")


def test_an_upload_whose_hour_is_over_is_told(explain):
    code, told, done = explain(upload(int(time.time()) - 3600), AT_HOME)
    assert code == 1, done
    assert told["refused"] == "its hour is over: the answer is 400 upload_expired"


@pytest.mark.parametrize("native", ["upload_" + "x" * 42, "upload_" + "a" * 41, "file_" + "a" * 42])
def test_a_sealed_upload_that_tells_no_begin_is_refused(explain, native):
    code, told, done = explain(upload(0, native=native), AT_HOME)
    assert code == 1 and told["refused"] == "it does not tell when it began: the answer is 404", done


def test_an_id_that_a_gateway_gave_an_upload_is_explained(explain, start, sim):
    settings = {"seal_keys": [NEW]}
    gateway = start(balanced_config(sim, tranche_settings=settings))
    made = gateway.post("/v1/uploads", {"filename": "a.jsonl", "purpose": "batch", "bytes": 777, "mime_type": "text/plain"}).json()
    code, told, done = explain(made["id"], {**config(), "tranche_settings": {**settings, "host": "127.0.0.1", "port": 0}})
    assert code == 0, done
    begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made["created_at"]))
    assert told["begun"] == f"{begun}, for a file of 777 bytes" and "which is this machine" in told["node"]
    assert told["owner"] == "0000000000000000 (the master key)"
    assert gateway.post(f"/v1/uploads/{made['id']}/cancel").status == 200
