"""Commands that ask a running gateway, or any server of OpenAI's contract, for batches and files: `tranche cancel`, `files`, `get`,
`deployments`."""

import json
import os
import pty
import socket
import ssl
import subprocess
import threading

from harness import GROUP, MASTER_KEY, PATIENCE, PROVIDER_KEYS, balanced_config, find_binary, free_port, http_request, lines, program_env


def tranche(*args, url, key=MASTER_KEY, env=None, text=True):
    return subprocess.run([find_binary("tranche"), *args], capture_output=True, text=text, timeout=PATIENCE * 4, check=False, stdin=subprocess.DEVNULL,
                          env=program_env({"TRANCHE_BASE_URL": url, **({"TRANCHE_API_KEY": key} if key else {}), **(env or {})}))


def on_a_terminal(args, url, env=None):
    """(what a command prints where both its outputs are a terminal, its exit code)"""
    ours, theirs = pty.openpty()
    done = subprocess.Popen([find_binary("tranche"), *args], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
                            env=program_env({"TRANCHE_BASE_URL": url, "TRANCHE_API_KEY": MASTER_KEY, "TERM": "xterm", **(env or {})}))
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65536):
            text += piece
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    return text.decode(), done.wait(PATIENCE * 4)


def test_files_are_listed_and_read_and_batches_cancelled(gateway, sim, tmp_path):
    url = gateway.url + "/v1"
    data = lines(count=20)
    file = gateway.uploaded(data, filename="first.jsonl")["id"]
    second = gateway.uploaded(lines(count=2), filename="second.jsonl")["id"]

    # files
    done = tranche("files", url=url)
    assert done.returncode == 0 and "\033" not in done.stdout, done
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "NAME", "PURPOSE", "SIZE", "CREATED", "EXPIRES"]
    assert {r.split()[0]: r.split()[1] for r in rows} == {file: "first.jsonl", second: "second.jsonl"}, done.stdout
    page = json.loads(tranche("files", "--limit", "1", "--purpose", "batch", "--json", url=url).stdout)
    assert len(page["data"]) == 1
    done = tranche("files", "--limit", "1", url=url)
    first = done.stdout.splitlines()[1].split()[0]
    assert f"tranche files --after {first}" in done.stderr, done
    assert first not in tranche("files", "--after", first, url=url).stdout

    # get
    mine = gateway.get(f"/v1/files/{file}/content").body
    done = tranche("get", file, url=url, text=False)
    assert done.returncode == 0 and done.stdout == mine and done.stderr == b"", done
    where = tmp_path / "got.jsonl"
    where.write_text("what stood there before\n")
    done = tranche("get", "-o", str(where), file, url=url)
    assert done.returncode == 0 and done.stdout == "" and where.read_bytes() == mine, done
    assert json.loads(tranche("get", file, "--json", url=url).stdout)["filename"] == "first.jsonl"
    done = tranche("get", "file-unknown", "-o", str(tmp_path / "none"), url=url)
    assert done.returncode == 1 and "status 404" in done.stderr and not list(tmp_path.glob("none*")), done
    done = tranche("get", file, "-o", str(tmp_path / "no" / "where"), url=url)
    assert done.returncode == 2 and "No such file" in done.stderr, done
    text, code = on_a_terminal(["get", file, "-o", str(where)], url)
    assert code == 0 and "reading [####" in text, text

    # An answer that breaks off leaves what stood there.
    sim.fault({"truncate": 100}, method="GET", path="*/content", times=20)
    where.write_text("before\n")
    done = tranche("get", "-o", str(where), file, url=url)
    assert done.returncode == 3 and where.read_text() == "before\n" and not list(tmp_path.glob("*.part")), done
    sim.clear_faults()

    # cancel
    batches = [gateway.created(f)["id"] for f in (file, second)]
    done = tranche("cancel", *batches, url=url)
    assert done.returncode == 0 and [line.split()[:2] for line in done.stdout.splitlines()] == [[b, "cancelling"] for b in batches], done
    assert json.loads(tranche("cancel", batches[0], "--json", url=url).stdout)["id"] == batches[0]
    done = tranche("cancel", "batch_unknown", batches[1], url=url)
    assert done.returncode == 1 and "404" in done.stderr and batches[1] in done.stdout, done
    text, code = on_a_terminal(["cancel", batches[1]], url)
    assert code == 0 and "\033[" in text
    text, code = on_a_terminal(["cancel", batches[1]], url, {"NO_COLOR": "1"})
    assert code == 0 and "\033[3" not in text


def test_deployments_are_told_with_what_they_have_room_for(start, sim):
    config = balanced_config(sim, accounts=["eu", "us"], tranche_settings={"quotas": [{"deployment": "eu", "enqueued_tokens": 1_000_000}]})
    for row, name in zip(config["model_list"], ("eu", "us")):
        row["model_info"]["id"] = name
    gateway = start(config, sim=sim)
    gateway.created(gateway.uploaded()["id"])
    done = tranche("deployments", url=gateway.url)
    assert done.returncode == 0 and "\033" not in done.stdout, done
    head, *rows = done.stdout.splitlines()
    assert head.split()[:5] == ["GROUP", "DEPLOYMENT", "STATE", "BATCHES", "ENQUEUED"]
    assert [r.split()[:2] for r in rows] == [[GROUP, "eu"], [GROUP, "us"]], done.stdout
    data = json.loads(tranche("deployments", "--json", url=gateway.url).stdout)["data"]
    assert data[0]["enqueued_token_limit"] == 1_000_000 and data[0]["model_group"] == GROUP, data
    assert sum(row["reservations"] for row in data) == 1 and sum(row["enqueued_tokens"] for row in data) > 0, data
    done = tranche("deployments", url=gateway.url, key="sk-wrong-0123456789abcdef")
    assert done.returncode == 1 and "TRANCHE_API_KEY" in done.stderr, done
    text, code = on_a_terminal(["deployments"], gateway.url)
    assert code == 0 and "\033[" in text
    text, code = on_a_terminal(["deployments"], gateway.url, {"NO_COLOR": "1"})
    assert code == 0 and "\033[3" not in text


def test_another_server_of_the_contract_is_asked_the_same_way(sim):
    """The simulator itself, by the key that is given for it and by no other."""
    url = sim.base("oai") + "/v1"
    made = http_request(sim.ports["oai"], "GET", "/v1/files", headers={"Authorization": f"Bearer {PROVIDER_KEYS['oai']}"})
    assert made.status == 200
    assert tranche("files", url=url, key=PROVIDER_KEYS["oai"]).returncode == 0
    done = tranche("files", "--base-url", url, url="http://127.0.0.1:1", key=None, env={"OPENAI_API_KEY": PROVIDER_KEYS["oai"]})
    assert done.returncode == 1 and "No key was sent" in done.stderr, done
    done = tranche("deployments", url=url, key=PROVIDER_KEYS["oai"])
    assert done.returncode == 1 and "status 404" in done.stderr, done


def test_what_is_wrong_is_said_with_what_to_do():
    url = f"http://127.0.0.1:{free_port()}"
    for args in (["files"], ["cancel", "batch_a"], ["get", "file-a"], ["deployments"]):
        done = tranche(*args, url=url)
        assert done.returncode == 3 and "--base-url" in done.stderr, done
    for args in (["cancel"], ["get"], ["get", "a", "b"], ["files", "more"], ["files", "--limit", "0"], ["deployments", "x"], ["files", "--jsn"]):
        done = tranche(*args, url=url)
        assert done.returncode == 2 and done.stderr.startswith("tranche: "), done
    for command in ("cancel", "files", "get", "deployments"):
        done = tranche(command, "--help", url=url)
        assert done.returncode == 0 and "Example:" in done.stdout and "Exit:" in done.stdout, done


class Provider:
    """api.openai.com, by way of a proxy that is it: keeps what it was asked, and refuses it."""

    def __init__(self, place):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
                        "-subj", "/CN=api.openai.com", "-addext", "subjectAltName=DNS:api.openai.com"], cwd=place, check=True, capture_output=True,
                       stdin=subprocess.DEVNULL)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(place / "cert.pem", place / "key.pem")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.env = {"HTTPS_PROXY": f"http://127.0.0.1:{self.listener.getsockname()[1]}", "SSL_CERT_FILE": str(place / "cert.pem")}
        self.asked = []
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def _head(sock):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
        return data

    def _serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                assert self._head(sock).startswith(b"CONNECT api.openai.com:443 ")
                sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                with self.context.wrap_socket(sock, server_side=True) as secure:
                    self.asked.append(self._head(secure).decode())
                    secure.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_a_provider_gets_the_key_that_is_given_for_it_and_no_other(tmp_path):
    provider = Provider(tmp_path)
    keys = {"TRANCHE_API_KEY": "sk-tranche-0123456789abcdef", "LITELLM_MASTER_KEY": "sk-litellm-0123456789abcdef", "OPENAI_API_KEY": "sk-openai-0123456789abcdef"}
    address = "https://api.openai.com/v1"
    for args, env, wanted in ((["--base-url", address], {}, None), ([], {"TRANCHE_BASE_URL": address}, None),
                              ([], {"TRANCHE_BASE_URL": "", "OPENAI_BASE_URL": address}, "sk-openai-0123456789abcdef"),
                              (["--base-url", address, "--key", "sk-given-0123456789abcdef"], {}, "sk-given-0123456789abcdef")):
        done = tranche("files", *args, url="http://127.0.0.1:1", key=None, env={**provider.env, **keys, **env})
        assert done.returncode == 1 and "status 401" in done.stderr and "sk-" not in done.stderr, done
        asked = provider.asked.pop()
        assert ("authorization: " in asked.lower()) == (wanted is not None) and (wanted or "GET /v1/files?") in asked, asked
        assert not [key for key in keys.values() if key in asked and key != wanted], asked
    provider.listener.close()
