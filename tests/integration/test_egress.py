"""The way out: headers of the operator's own, a proxy, and who signs the providers' certificates."""

import json
import socket
import socketserver
import threading

import pytest
from harness import MASTER_KEY, azure_deployment, balanced_config, envelope

SECRET = "gateway-secret-0815"


def test_extra_headers_of_a_row_go_with_each_of_its_calls_and_nowhere_else(start, sim):
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"][0]["litellm_params"]["extra_headers"] = {"X-Tenant": "blue", "x-gateway-key": "os.environ/GATEWAY_KEY"}
    config["model_list"].append(azure_deployment(sim, "us", group="other"))
    gateway = start(config, sim=sim, env={"GATEWAY_KEY": SECRET})
    gateway.secrets.append(SECRET)
    batch = gateway.created(gateway.uploaded()["id"])
    gateway.get("/v1/batches/" + batch["id"])
    gateway.get("/v1/batches")
    calls = sim.requests("eu", probes=True, upkeep=True)
    assert len(calls) >= 3
    for call in calls:
        assert call["headers"].get("x-tenant") == "blue" and call["headers"].get("x-gateway-key") == SECRET, call
    assert all("x-tenant" not in call["headers"] for call in sim.requests("us", probes=True, upkeep=True))


@pytest.mark.parametrize("name", ["Authorization", "api-key", "Host", "Content-Length", "Transfer-Encoding", "bad name"])
def test_a_header_that_calls_have_of_their_own_leaves_the_row_out(start, sim, name):
    config = balanced_config(sim, accounts=["eu", "us"])
    config["model_list"][0]["litellm_params"]["extra_headers"] = {name: "x"}
    gateway = start(config, sim=sim)
    gateway.wait_line(r"left out: .*extra_headers.*no header that a row may set")
    gateway.uploaded()
    assert (sim.created("files", ["eu"]), sim.created("files", ["us"])) == (0, 1)


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that only knows CONNECT, and sends each tunnel to one port of this machine."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port, refuse=None):
        self.target, self.heads, self.refuse = port, [], refuse
        super().__init__(("127.0.0.1", 0), Tunnel)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"


class Tunnel(socketserver.BaseRequestHandler):
    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(4096)
            if not data:
                return
            head += data
        self.server.heads.append(head.decode("latin-1"))
        if self.server.refuse:
            self.request.sendall(f"HTTP/1.1 {self.server.refuse}\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n".encode())
            return
        out = socket.create_connection(("127.0.0.1", self.server.target))
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self.pump, args=(out, self.request), daemon=True).start()
        self.pump(self.request, out)

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def proxied(sim):
    proxies = []

    def make(**kw):
        proxies.append(Proxy(sim.ports["eu"], **kw))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.shutdown()
        proxy.server_close()


def config_of(sim, base, **settings):
    """One Azure row at an address that only the proxy knows."""
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"][0]["litellm_params"]["api_base"] = base
    config["tranche_settings"] = {"allow_insecure_upstream": True, **settings}
    return config


@pytest.mark.parametrize("how", ["setting", "HTTPS_PROXY", "https_proxy"])
def test_a_company_without_another_way_out_reaches_its_provider_through_the_proxy(start, sim, proxied, how):
    proxy = proxied()
    address = f"http://user:{SECRET}@{proxy.address}"
    settings = {"upstream_proxy": address} if how == "setting" else {}
    gateway = start(config_of(sim, "http://resource.invalid", **settings), sim=sim, env={} if how == "setting" else {how: address})
    gateway.secrets.append(SECRET)
    batch = gateway.created(gateway.uploaded()["id"])
    assert gateway.get("/v1/batches/" + batch["id"]).status == 200
    assert proxy.heads and all(h.startswith("CONNECT resource.invalid:80 HTTP/1.1\r\n") for h in proxy.heads), proxy.heads
    seen = json.dumps(proxy.heads)
    assert "azure-key" not in seen and MASTER_KEY not in seen and "Proxy-Authorization: Basic" in seen, seen


def test_this_machine_is_never_reached_through_a_proxy(start, sim, proxied):
    proxy = proxied()
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim, env={"HTTPS_PROXY": f"http://{proxy.address}"})
    gateway.uploaded()
    assert proxy.heads == []


@pytest.mark.parametrize("how", ["NO_PROXY", "no_proxy setting", "upstream_proxy none", "HTTP_PROXY alone"])
def test_hosts_without_the_proxy_are_asked_directly(start, sim, proxied, how):
    proxy = proxied()
    env, settings = {"HTTPS_PROXY": f"http://{proxy.address}"}, {}
    if how == "NO_PROXY":
        env["NO_PROXY"] = "other.invalid,.invalid"
    elif how == "no_proxy setting":
        settings["no_proxy"] = ["resource.invalid"]
    elif how == "upstream_proxy none":
        settings["upstream_proxy"] = "none"
    else:
        env = {"HTTP_PROXY": f"http://{proxy.address}", "ALL_PROXY": f"http://{proxy.address}"}
    gateway = start(config_of(sim, "http://resource.invalid", **settings), sim=sim, env=env)
    envelope(gateway.upload(), 502)  # nobody has that name
    assert proxy.heads == []


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
def test_what_the_proxy_refuses_was_never_sent(start, sim, proxied, status):
    gateway = start(config_of(sim, "http://resource.invalid", upstream_proxy=f"http://{proxied(refuse=status).address}"), sim=sim)
    error = envelope(gateway.upload())
    assert error["code"] == "upstream_unreachable", error
    assert sim.created("files") == 0


def test_a_proxy_that_is_none_is_told_without_its_password(start, sim, tmp_path):
    import subprocess
    from harness import find_binary, program_env
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config_of(sim, "http://resource.invalid", upstream_proxy=f"socks9://user:{SECRET}@x")))
    done = subprocess.run([find_binary("tranche"), "check", "--config", str(path)], env=program_env({}), capture_output=True, text=True)
    assert done.returncode == 1 and "upstream_proxy: got ***" in done.stdout and SECRET not in done.stdout, done.stdout
