"""Providers over TLS: verified against the system's authorities or ours, TLS 1.2 at least, and the log says what was wrong."""

import os
import re
import socket
import ssl
import subprocess
import threading
import warnings

import pytest
from harness import PATIENCE, azure_account, azure_deployment, balanced_config, envelope, lines, sim_config, until


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True, stdin=subprocess.DEVNULL)


def new_key(path):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", str(path))
    return str(path)


class Authority:
    """Signs what providers show. Its own certificate is what `upstream_ca_file` names."""

    def __init__(self, where, name):
        self.where, self.name = where, name
        self.key, self.cert = new_key(where / f"{name}.key"), str(where / f"{name}.pem")
        openssl("req", "-x509", "-key", self.key, "-out", self.cert, "-days", "2", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, names="IP:127.0.0.1", days=2):
        stem = self.where / f"{self.name}-{len(list(self.where.iterdir()))}"
        key, request, cert, extensions = (f"{stem}{end}" for end in (".key", ".csr", ".crt", ".ext"))
        new_key(key)
        with open(extensions, "w") as out:
            out.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        openssl("req", "-new", "-key", key, "-out", request, "-subj", "/CN=provider")
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", str(days),
                "-extfile", extensions, "-out", cert)
        return {"cert": cert, "key": key}


@pytest.fixture
def authority(tmp_path):
    where = tmp_path / "tls"
    where.mkdir()
    return Authority(where, "authority")


def gateway_at(start, sim, port, ca_file, **more):
    settings = {"upstream_ca_file": ca_file} if ca_file else {}
    config = balanced_config(sim, accounts=[], tranche_settings=settings, router_settings={"num_retries": 0})
    config["model_list"] = [azure_deployment(sim, "eu", api_base=f"https://127.0.0.1:{port}")]
    return start(config, sim=sim, **more)


def tls_gateway(make_sim, start, pair, ca_file, **more):
    own = make_sim(sim_config([azure_account("eu", tls=pair)]))
    return own, gateway_at(start, own, own.ports["eu"], ca_file, **more)


def test_a_provider_with_a_certificate_of_our_authority_is_used(make_sim, start, authority):
    own, gateway = tls_gateway(make_sim, start, authority.sign(), authority.cert)
    batch = gateway.created(gateway.uploaded(lines(count=3000))["id"])
    done = gateway.wait_batch(own, batch["id"])
    assert len(gateway.get(f"/v1/files/{done['output_file_id']}/content").body.splitlines()) == 3000
    assert own.created("files") == 1 and own.created("batches") == 1


def show(authority, what):
    """(what a provider shows, whom we trust, what the log says of it)"""
    if what == "unknown_authority":
        other = Authority(authority.where, "stranger")
        return other.sign(), authority.cert, r"unable to get local issuer certificate"
    if what == "only_the_system_is_trusted":
        return authority.sign(), None, r"unable to get local issuer certificate"
    if what == "self_signed":
        return {"cert": authority.cert, "key": authority.key}, None, r"self-signed certificate"
    if what == "other_name":
        return authority.sign("DNS:elsewhere.example"), authority.cert, r"no alternative certificate subject name matches"
    return authority.sign(days=-1), authority.cert, r"certificate has expired"


@pytest.mark.parametrize("what", ["unknown_authority", "only_the_system_is_trusted", "self_signed", "other_name", "expired"])
def test_a_provider_that_cannot_be_verified_gets_nothing(make_sim, start, authority, what):
    pair, ca_file, reason = show(authority, what)
    own, gateway = tls_gateway(make_sim, start, pair, ca_file)
    for answer in gateway.upload(), gateway.get("/v1/batches?limit=50"):
        error = envelope(answer, 502)
        assert "/tls/" not in error["message"], error
    line = gateway.wait_line(r"deployment .* upload failed: .*connect, .*certificate.*").string
    assert re.search(reason, line), line
    assert own.requests(probes=True, upkeep=True) == [] and own.created("files") == 0


def test_switches_of_the_environment_open_no_door(make_sim, start, authority):
    """curl's command line would trust this."""
    env = {"CURL_CA_BUNDLE": authority.cert, "SSL_CERT_DIR": os.path.dirname(authority.cert)}
    own, gateway = tls_gateway(make_sim, start, authority.sign(), None, env=env)
    envelope(gateway.upload(), 502)
    assert own.requests(probes=True, upkeep=True) == []


def test_the_bundle_of_ssl_cert_file_is_trusted_as_in_litellm(make_sim, start, authority):
    own, gateway = tls_gateway(make_sim, start, authority.sign(), None, env={"SSL_CERT_FILE": authority.cert})
    assert gateway.upload().status == 200


class OldServer(threading.Thread):
    """Speaks no newer TLS than `newest`, and answers each request with an empty list."""

    def __init__(self, pair, newest):
        super().__init__(daemon=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.context.minimum_version = ssl.TLSVersion.TLSv1
            self.context.maximum_version = newest
        self.context.load_cert_chain(pair["cert"], pair["key"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.versions, self.refused = [], []
        self.start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        sock.settimeout(PATIENCE)
        try:
            with self.context.wrap_socket(sock, server_side=True) as tls:
                self.versions.append(tls.version())
                while tls.recv(65536):
                    body = b'{"object": "list", "data": [], "has_more": false}'
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                                % (len(body), body))
        except ssl.SSLError as problem:
            self.refused.append(problem.reason)
        except OSError:
            pass


@pytest.fixture
def old_server(authority):
    made = []

    def make(newest):
        made.append(OldServer(authority.sign(), newest))
        return made[-1]

    yield make
    for server in made:
        server.listener.close()


def test_tls_1_1_is_refused(start, sim, authority, old_server):
    server = old_server(ssl.TLSVersion.TLSv1_1)
    gateway = gateway_at(start, sim, server.port, authority.cert)
    envelope(gateway.get("/v1/batches?limit=50"), 502)
    until(lambda: server.refused, "the gateway refused the handshake")
    assert "UNSUPPORTED_PROTOCOL" in server.refused[0] and server.versions == []
    line = gateway.wait_line(r"deployment .* read failed: .*connect, .*").string
    assert re.search(r"(?i)protocol version|unsupported protocol|wrong version", line), line


def test_tls_1_2_is_good_enough(start, sim, authority, old_server):
    server = old_server(ssl.TLSVersion.TLSv1_2)
    gateway = gateway_at(start, sim, server.port, authority.cert)
    assert gateway.get("/v1/batches?limit=50").json()["data"] == []
    assert set(server.versions) == {"TLSv1.2"}


def test_a_provider_without_tls_gets_no_key(start, sim, authority):
    """The port of a provider that speaks clear text, named as https."""
    gateway = gateway_at(start, sim, sim.ports["eu"], authority.cert)
    envelope(gateway.upload(), 502)
    assert [r for r in sim.requests("eu", probes=True, upkeep=True) if r["headers"]] == []
