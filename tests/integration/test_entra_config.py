"""What the real program says of rows without keys, before it asks anybody: `tranche check`, and a start that refuses."""

import json
import re
import socket
import subprocess

import pytest
from harness import MASTER_KEY, PATIENCE, ROOT, find_binary, program_env

SECRET = "s3cret~of.the_principal"
PRINCIPAL = {"tenant_id": "contoso", "client_id": "app-1"}
ENVIRONMENT = {"AZURE_TENANT_ID": "contoso", "AZURE_CLIENT_ID": "app-1"}
BASE = "https://eu.openai.azure.com"


@pytest.fixture
def tell(tmp_path):
    """tell(params, ...): what `tranche check` prints of one Azure row, and its exit code."""
    def run(params=None, env=None, args=(), base=BASE, **sections):
        path = tmp_path / "config.yaml"
        row = {"model_name": "g", "litellm_params": {"model": "azure/d", "api_base": base, **(params or {})}}
        path.write_text(json.dumps({"model_list": [row], "general_settings": {"master_key": MASTER_KEY}, **sections}, indent=1))
        path.chmod(0o600)
        done = subprocess.run([find_binary("tranche"), "check", "--config", str(path), *args], capture_output=True, text=True,
                              env=program_env(env), timeout=PATIENCE, stdin=subprocess.DEVNULL)
        assert SECRET not in done.stdout + done.stderr, done.stdout
        return done.stdout, done.returncode
    return run


def used(told):
    """'by Entra ID: client app-1 of tenant contoso, by secret (client_secret)' of the row."""
    text, code = told
    assert code == 0, text
    return re.search(r'azure deployment "d" of account [^,]*, (by .*)', text).group(1)


def refused(told, pattern):
    text, code = told
    assert code == 1 and re.search(pattern, text), text


def test_entra_01_which_credential_a_row_uses(tell, tmp_path):
    by_secret = "by Entra ID: client app-1 of tenant contoso, by secret"
    everything = {**ENVIRONMENT, "AZURE_CLIENT_SECRET": SECRET, "AZURE_API_KEY": "key-of-another-resource"}
    assert used(tell({**PRINCIPAL, "client_secret": SECRET}, env=everything)) == f"{by_secret} (client_secret)"
    listed = [{"credential_name": "c", "credential_values": {**PRINCIPAL, "client_secret": SECRET}}]
    assert used(tell({"litellm_credential_name": "c"}, credential_list=listed)) == f"{by_secret} (client_secret)"
    assert used(tell(env=everything)) == "by the key of AZURE_API_KEY"
    del everything["AZURE_API_KEY"]
    assert used(tell(env=everything)) == f"{by_secret} (AZURE_CLIENT_SECRET)"
    text, code = tell({"api_key": "k", **PRINCIPAL, "client_secret": SECRET}, env=everything)
    assert code == 0 and "by the key of api_key" in text and "ignored: the row has an api_key" in text, text
    refused(tell({"client_secret": SECRET}, env={"AZURE_API_KEY": "k"}), r"skipped: .*tenant_id: missing")


def test_entra_02_scope_and_authority(tell):
    row = {**PRINCIPAL, "client_secret": SECRET}
    for base, authority, scope in ((BASE, "login.microsoftonline.com", "cognitiveservices.azure.com"),
                                   ("https://x.openai.azure.us", "login.microsoftonline.us", "cognitiveservices.azure.us"),
                                   ("https://x.openai.azure.cn", "login.partner.microsoftonline.cn", "cognitiveservices.azure.cn")):
        text, code = tell(row, base=base)
        assert code == 0 and f"from https://{authority} for https://{scope}/.default" in text, text
    assert "for https://ai.azure.com/.default" in tell(row, env={"AZURE_SCOPE": "https://ai.azure.com/.default"})[0]
    for scope in ("https://ai.azure.com", "https://a.test/.default https://b.test/.default"):
        refused(tell({**row, "azure_scope": scope}), r"config.yaml:\d+: error: model_list\[0\].litellm_params.azure_scope: got .*\(column \d+\)")
        refused(tell(row, env={"AZURE_SCOPE": scope}), "environment: error: AZURE_SCOPE: got")


def test_entra_03_the_authority_of_the_environment(tell):
    row = {**PRINCIPAL, "client_secret": SECRET}
    for text in ("login.microsoftonline.us", "https://login.microsoftonline.us", "https://login.microsoftonline.us/"):
        assert "from https://login.microsoftonline.us for" in tell(row, env={"AZURE_AUTHORITY_HOST": text})[0]
    assert "from http://127.0.0.1:9 for" in tell(row, env={"AZURE_AUTHORITY_HOST": "http://127.0.0.1:9/"})[0]
    # What permits http to providers does not send a secret in the clear.
    refused(tell(row, env={"AZURE_AUTHORITY_HOST": "http://login.example"}, tranche_settings={"allow_insecure_upstream": True}),
            "environment: error: AZURE_AUTHORITY_HOST: got .*wanted https://")


def test_entra_04_the_order_of_the_environment(tell, tmp_path):
    assertion = tmp_path / "assertion"
    assertion.write_text("a.b.c\n")
    refresh = {"litellm_settings": {"enable_azure_ad_token_refresh": True}}
    env = {**ENVIRONMENT, "AZURE_CLIENT_SECRET": SECRET, "AZURE_FEDERATED_TOKEN_FILE": str(assertion)}
    assert used(tell(env=env, **refresh)).endswith("by secret (AZURE_CLIENT_SECRET)")
    del env["AZURE_CLIENT_SECRET"]
    assert used(tell(env=env, **refresh)).endswith("by assertion (AZURE_FEDERATED_TOKEN_FILE)")
    refused(tell(env=env), "AZURE_FEDERATED_TOKEN_FILE is set, and litellm_settings.enable_azure_ad_token_refresh: true would use it")
    del env["AZURE_FEDERATED_TOKEN_FILE"]
    assert "managed identity of client app-1, by imds (enable_azure_ad_token_refresh" in used(tell(env=env, **refresh))
    assert "the machine's managed identity, by imds" in used(tell(**refresh))


def test_entra_04_check_asks_nobody(tell):
    """Provider, authority and metadata service are one socket, to which nobody comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        here = f"http://127.0.0.1:{listener.getsockname()[1]}"
        env = {"AZURE_AUTHORITY_HOST": here, "AZURE_POD_IDENTITY_AUTHORITY_HOST": here, "HTTPS_PROXY": here, "HTTP_PROXY": here}
        assert f"from {here} for" in tell({**PRINCIPAL, "client_secret": SECRET}, env=env, base=here)[0]
        assert f"from {here}/metadata/identity/oauth2/token for" in tell({"managed_identity_client_id": "m"}, env=env, base=here)[0]
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_entra_05_other_references_name_those_that_are_followed(tell):
    for kind in ("github", "google", "circleci", "circleci_v2", "else"):
        refused(tell({**PRINCIPAL, "azure_ad_token": f"oidc/{kind}/x"}),
                r"skipped: .*azure_ad_token: got \*\*\*, wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or oidc/env_path/NAME")
    env = {"AZURE_FEDERATED_TOKEN_FILE": "/dev/null", "ASSERTION": "a.b.c", "ASSERTION_PATH": "/dev/null"}
    for rest in ("azure/", "azure/api://AzureADTokenExchange", "file//dev/null", "env/ASSERTION", "env_path/ASSERTION_PATH"):
        told = used(tell({**PRINCIPAL, "azure_ad_token": f"oidc/{rest}"}, env=env))
        assert told == f"by Entra ID: client app-1 of tenant contoso, by assertion (azure_ad_token: oidc/{rest.split('/')[0]})"


def test_entra_06_an_assertion_that_is_not_there_yet_is_a_warning(tell, tmp_path):
    text, code = tell({**PRINCIPAL, "azure_federated_token_file": "not-there"}, args=["--strict"])
    assert code == 0 and re.search(r"warning: .*azure_federated_token_file: the file .*/not-there cannot be read now", text), text


def test_entra_08_link_local_addresses(tell):
    for base in ("http://169.254.169.254", "https://169.254.1.1/", "http://0xa9fea9fe", "https://[fe80::1]", "https://[::ffff:169.254.169.254]"):
        refused(tell({"api_key": "k"}, base=base, tranche_settings={"allow_insecure_upstream": True}),
                r"error: model_list\[0\].litellm_params.api_base: got .*, which is a link-local address")
    text, code = tell({"managed_identity_client_id": "mi-1"})
    assert code == 0 and "from http://169.254.169.254/metadata/identity/oauth2/token for" in text, text


def test_entra_21_rows_with_equal_credentials_are_one_account(tell):
    row = {"model": "azure/d", "api_base": BASE, **PRINCIPAL}
    rows = [{"model_name": name, "litellm_params": {**row, **more}}
            for name, more in (("a", {"client_secret": SECRET}), ("b", {"client_secret": SECRET, "api_base": BASE + "/openai/"}),
                               ("c", {"client_secret": SECRET, "azure_scope": "https://ai.azure.com/.default"}), ("d", {"api_key": "k"}))]
    text, code = tell(model_list=rows)
    accounts = re.findall(r'azure deployment "d" of account ([^,]*),', text)
    assert code == 0 and accounts == ["eu.openai.azure.com", "eu.openai.azure.com", "eu.openai.azure.com#2", "eu.openai.azure.com#3"], text
    other, _ = tell(model_list=[{**rows[0], "litellm_params": {**rows[0]["litellm_params"], "client_secret": "another"}}])
    assert re.findall(r"id ([0-9a-f]{32})", other)[0] == re.findall(r"id ([0-9a-f]{32})", text)[0]


def test_entra_25_and_26_a_mounted_secret_and_a_users_password(tell):
    text, code = tell(env={**ENVIRONMENT, "AZURE_CLIENT_SECRET": SECRET + "\n"})
    assert code == 0 and "environment: warning: AZURE_CLIENT_SECRET: white space around its value is cut off" in text, text
    refused(tell({"client_id": "c", "azure_username": "somebody", "azure_password": SECRET}),
            r"skipped: .*azure_username: the row is left out: a user's name and password get no token here")
    refused(tell(env={"AZURE_CLIENT_ID": "c", "AZURE_USERNAME": "somebody", "AZURE_PASSWORD": SECRET}),
            r"skipped: .*api_key: missing; the user's name and password of AZURE_USERNAME and AZURE_PASSWORD get no token here")


def test_a_row_that_is_left_out_is_an_error_with_strict_alone(tell):
    bad = {"model_name": "h", "litellm_params": {"model": "azure/e", "api_base": BASE, **PRINCIPAL}}
    good = {"model_name": "g", "litellm_params": {"model": "azure/d", "api_base": BASE, **PRINCIPAL, "client_secret": SECRET}}
    text, code = tell(model_list=[bad, good])
    assert code == 0 and re.search(r"config.yaml:\d+: skipped: model_list\[0\].litellm_params.tenant_id: the row is left out", text), text
    assert tell(model_list=[bad, good], args=["--strict"])[1] == 1


def make_certificate(directory):
    """One file with a key and its certificate, and one with a key that is another's."""
    key, other, certificate = (directory / name for name in ("key.pem", "other.pem", "certificate.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=app",
                    "-days", "30"], check=True, capture_output=True)
    subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, capture_output=True)
    (directory / "client.pem").write_text(certificate.read_text() + key.read_text())
    (directory / "wrong.pem").write_text(other.read_text() + certificate.read_text())
    return str(directory / "client.pem"), str(directory / "wrong.pem")


def test_entra_07_a_certificate_has_to_fit_its_key(tell, tmp_path):
    good, wrong = make_certificate(tmp_path)
    assert used(tell({**PRINCIPAL, "client_certificate_path": good})).endswith("by certificate (client_certificate_path)")
    refused(tell({**PRINCIPAL, "client_certificate_path": wrong}),
            r"config.yaml:\d+: error: model_list\[0\].litellm_params.client_certificate_path: got .*fits its private key")
    env = {**ENVIRONMENT, "AZURE_CERTIFICATE_PATH": wrong}
    refused(tell(env=env, litellm_settings={"enable_azure_ad_token_refresh": True}), "environment: error: AZURE_CERTIFICATE_PATH: got")


def test_each_example_of_the_page_about_azure_without_keys_is_taken(tell, tmp_path):
    page = (ROOT / "config" / "README.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert len(examples) == 8
    certificate, _ = make_certificate(tmp_path)
    kinds = []
    for example in examples:
        example = example.replace("/run/secrets/client.pem", certificate)
        # As the page says: among the row's parameters, but the last one, which is a section of its own.
        section = example.startswith("litellm_settings")
        path = tmp_path / "page.yaml"
        indented = "".join(f"    {line}\n" for line in example.splitlines())
        path.write_text("model_list:\n- model_name: g\n  litellm_params:\n    model: azure/d\n"
                        f"    api_base: {BASE}\n" + ("" if section else indented) + (example if section else "") +
                        f"general_settings: {{master_key: {MASTER_KEY}}}\n")
        path.chmod(0o600)
        done = subprocess.run([find_binary("tranche"), "check", "--strict", "--config", str(path)], capture_output=True, text=True,
                              env=program_env({"AZURE_CLIENT_SECRET": SECRET, "AZURE_CLIENT_CERTIFICATE_PASSWORD": "not-needed"}), timeout=PATIENCE, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout
        kinds.append(re.search(r"by (secret|certificate|assertion|imds) \(", done.stdout).group(1))
    assert kinds == ["secret", "secret", "certificate", "assertion", "assertion", "imds", "imds", "imds"]
