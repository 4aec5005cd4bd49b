"""TLS to PostgreSQL: the server's certificate is verified off this machine, and where the URL asks for it; a refusal says why, and never
the password (tenants statement C35). `hostaddr` makes a name of the loopback's address, which is then no local one."""

import subprocess

import pytest
from harness import PATIENCE, balanced_config, find_binary, free_port, program_env, until
from postgres import PROGRAMS, Cluster

PASSWORD = "geheim88-sehr-lang"
NAME = "db.tranche.example"

pytestmark = pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL is not installed (Debian: postgresql)")


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def make_authority(folder, name):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")


def make_certificate(folder, authority):
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}", "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.csr")
    openssl("x509", "-req", "-days", "2", "-in", f"{folder}/server.csr", "-CA", f"{folder}/{authority}.pem", "-CAkey", f"{folder}/{authority}.key",
            "-CAcreateserial", "-extfile", f"{folder}/names", "-out", f"{folder}/server.crt")


class Server:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        for name in ("authority", "other"):
            make_authority(folder, name)
        make_certificate(folder, "authority")
        self.cluster = Cluster(f"port={self.port}", "listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key",
                               files={"server.crt": (folder / "server.crt").read_text(), "server.key": (folder / "server.key").read_text(),
                                      "pg_hba.conf": "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"})
        self.cluster.psql(f"create role tenant login superuser password '{PASSWORD}'")

    def url(self, host=NAME, password=PASSWORD, **more):
        words = {"hostaddr": "127.0.0.1", "port": str(self.port), **more}
        return f"postgresql://tenant:{password}@{host}/postgres?" + "&".join(f"{k}={v}" for k, v in words.items() if v is not None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("tls"))
    yield server
    server.cluster.close()


def opened(url):
    """What somebody who opens the database is told."""
    done = subprocess.run([find_binary("tranche"), "keys", "import", "--from", "-", "--to", "os.environ/KEYS_URL"], input='[{"token": "' + 64 * "a" + '", "models": []}]', text=True, capture_output=True,
                          env=program_env({"KEYS_URL": url}), timeout=PATIENCE * 4, check=False)
    assert PASSWORD not in done.stdout + done.stderr
    return done.returncode, done.stderr


def test_the_servers_certificate_is_verified(server):
    right, wrong = (f"{server.folder}/{name}.pem" for name in ("authority", "other"))
    assert opened(server.url(sslrootcert=right))[0] == 0  # which is verify-full: NAME is not this machine
    for refused, text in ((server.url(sslrootcert=wrong), "certificate verify failed"),
                          (server.url(), "certificate verify failed"),  # the system's authorities
                          (server.url(sslmode="verify-full", host="127.0.0.1", hostaddr=None, sslrootcert=right), "does not match host name"),
                          (server.url(sslrootcert=right, password="falsch12-auch"), "password authentication failed"),
                          (server.url(sslmode="disable"), "no pg_hba.conf entry")):
        code, told = opened(refused)
        assert code != 0 and text in told and "falsch12" not in told, told
    assert opened(server.url(sslmode="require"))[0] == 0  # who says so in the URL is followed
    until(lambda: server.cluster.psql("select count(*) from pg_stat_ssl where ssl").stdout == "0\n", "all of them have left")


def test_a_gateway_keeps_its_connection_encrypted_and_its_log_without_the_password(start, sim, server):
    more = balanced_config(sim, tranche_settings={"database": "os.environ/KEYS_URL"})
    gateway = start(more, sim=sim, env={"KEYS_URL": server.url(sslrootcert=f"{server.folder}/authority.pem")})
    gateway.wait_line(rf"keys: the database of keys \(postgresql://{NAME}:{server.port}/postgres\) is read")
    assert server.cluster.psql("select count(*) > 0 from pg_stat_ssl join pg_stat_activity using(pid) where ssl and usename = 'tenant'").stdout == "t\n"
    refused = start(more, sim=sim, env={"KEYS_URL": server.url(sslrootcert=f"{server.folder}/other.pem")})
    refused.wait_line(r"keys: the database of keys .* is down: .*certificate verify failed")
    assert PASSWORD not in str(gateway.log) + str(refused.log)
