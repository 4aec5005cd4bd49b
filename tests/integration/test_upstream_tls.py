"""Providers over TLS: verified against the system's authorities or ours, never unverified."""

import subprocess

import pytest
from harness import azure_account, azure_deployment, balanced_config, envelope, lines, sim_config


def certificate(where, name):
    cert, key = where / f"{name}.pem", where / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName={'IP:127.0.0.1' if name == 'right' else 'DNS:elsewhere.example'}"],
                   check=True, capture_output=True)
    return {"cert": str(cert), "key": str(key)}


def tls_gateway(make_sim, start, tmp_path, name, trusted):
    pair = certificate(tmp_path, name)
    own = make_sim(sim_config([azure_account("eu", tls=pair)]))
    settings = {"upstream_ca_file": pair["cert"]} if trusted else {}
    config = balanced_config(own, accounts=[], tranche_settings=settings)
    config["model_list"] = [azure_deployment(own, "eu", api_base=f"https://127.0.0.1:{own.ports['eu']}")]
    return own, start(config, sim=own)


def test_a_provider_with_a_certificate_of_our_authority_is_used(make_sim, start, tmp_path):
    own, gateway = tls_gateway(make_sim, start, tmp_path, "right", trusted=True)
    batch = gateway.created(gateway.uploaded(lines(count=3000))["id"])
    done = gateway.wait_batch(own, batch["id"])
    assert len(gateway.get(f"/v1/files/{done['output_file_id']}/content").body.splitlines()) == 3000


@pytest.mark.parametrize("name, trusted", [("right", False), ("wrong", True)], ids=["unknown_authority", "other_name"])
def test_a_provider_that_cannot_be_verified_gets_nothing(make_sim, start, tmp_path, name, trusted):
    own, gateway = tls_gateway(make_sim, start, tmp_path, name, trusted)
    envelope(gateway.upload(), 502)
    envelope(gateway.get("/v1/batches?limit=50"), 502)
    assert own.requests() == [] and own.created("files") == 0
