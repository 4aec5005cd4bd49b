"""The token services beyond providers statements 70 to 72: who asks, what is answered, what the data plane takes."""

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import uuid
from urllib.parse import urlencode

from check_kit import Azure, Sim, check, is_azure_error, request

GLOBAL, AI, US = "https://cognitiveservices.azure.com", "https://ai.azure.com", "https://cognitiveservices.azure.us"
JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENTS = [
    {"client_id": "one", "tenant": "contoso", "object_id": "oid-one",
     "secrets": ["first~.+&", "second", {"value": "old", "state": "expired"}]},
    {"client_id": "one", "tenant": "fabrikam", "secrets": ["other"]},
    {"client_id": "two", "tenant": "contoso", "secrets": ["two"], "expires_in": 7200,
     "assertions": ["good", {"value": "late", "state": "expired"}, {"value": "iss", "state": "issuer"},
                    {"value": "sub", "state": "subject"}, {"value": "aud", "state": "audience"}]},
]


def clients(sim):
    for c in CLIENTS:
        a = sim.control("POST", "entra", {"account": "tokens", "client": c})
        assert a.status == 200, a


def ask(sim, tenant="contoso", headers=None, **form):
    form = {"grant_type": "client_credentials", "client_id": "one", "client_secret": "second", "scope": GLOBAL + "/.default", **form}
    return request(sim.ports["tokens"], "POST", f"/{tenant}/oauth2/v2.0/token",
                   urlencode({k: v for k, v in form.items() if v is not None}),
                   {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", **(headers or {})})


def assert_with(sim, text, **form):
    return ask(sim, **{"client_secret": None, "client_assertion_type": JWT, "client_assertion": text, **form})


def token(sim, **kw):
    a = ask(sim, **kw)
    assert a.status == 200, a
    return a.json()["access_token"]


def is_refused(a, status, error, number):
    e = a.json()
    assert a.status == status and e["error"] == error and e["error_codes"] == [number], a
    assert e["error_description"].startswith(f"AADSTS{number}: "), a


def files(sim, bearer=None, **headers):
    z = Azure(sim)
    z.auth = {**({"Authorization": f"Bearer {bearer}"} if bearer else {}), **headers}
    return z.call("GET", "/files")


def ledger(sim):
    return sim.control("GET", "tokens?account=tokens").json()


def metadata(sim, path="/metadata/identity/oauth2/token", version="2018-02-01", method="GET", headers=None, resource=GLOBAL, **query):
    query = {"api-version": version, "resource": resource, **query}
    headers = {"Metadata": "true"} if headers is None else headers
    return request(sim.ports["tokens"], method, path + "?" + urlencode({k: v for k, v in query.items() if v is not None}), headers=headers)


@check
def e1_tenants_clients_and_secrets_are_told_apart(sim, o):
    clients(sim)
    assert ask(sim).status == ask(sim, client_secret="first~.+&").status == 200
    assert ask(sim, "fabrikam", client_secret="other").status == 200
    is_refused(ask(sim, "fabrikam"), 401, "invalid_client", 7000215)
    is_refused(ask(sim, client_secret="old"), 401, "invalid_client", 7000222)
    is_refused(ask(sim, "nowhere"), 400, "invalid_request", 90002)
    is_refused(ask(sim, client_id="three"), 400, "unauthorized_client", 700016)
    is_refused(ask(sim, client_secret=None), 401, "invalid_client", 7000218)
    is_refused(ask(sim, client_id=None), 400, "invalid_request", 900144)
    is_refused(ask(sim, grant_type="password"), 400, "unsupported_grant_type", 70003)
    body = "scope=x&scope=y&client_id=one"
    a = request(sim.ports["tokens"], "POST", "/contoso/oauth2/v2.0/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
    is_refused(a, 400, "invalid_request", 9000411)


@check
def e2_a_client_changes_while_all_runs(sim, o):
    clients(sim)
    change = {"account": "tokens", "client": {"client_id": "one", "tenant": "contoso", "secrets": ["third"]}}
    assert sim.control("POST", "entra", change).status == 200
    assert ask(sim, client_secret="third").status == 200
    is_refused(ask(sim), 401, "invalid_client", 7000215)
    sim.control("POST", "entra", {"account": "tokens", "client": {"client_id": "two", "disabled": True}})
    is_refused(ask(sim, client_id="two", client_secret="two"), 400, "unauthorized_client", 7000112)
    assert sim.control("POST", "entra", {"account": "az", "client": {"client_id": "x"}}).status == 400
    assert sim.control("POST", "entra", {"account": "tokens", "client": {"client_id": "x", "secrets": [{"value": "x", "state": "?"}]}}).status == 400
    sim.reset()
    is_refused(ask(sim, client_secret="third"), 400, "invalid_request", 90002)


@check
def e3_a_scope_is_one_known_resource(sim, o):
    clients(sim)
    for resource in (GLOBAL, AI, US, "https://ai.azure.us", "https://cognitiveservices.azure.cn"):
        assert ask(sim, scope=resource + "/.default").status == 200
    for scope, error, number in ((GLOBAL, "invalid_scope", 1002012), ("/.default", "invalid_scope", 1002012),
                                 (f"{GLOBAL}/.default {AI}/.default", "invalid_scope", 28000),
                                 (GLOBAL + ".evil/.default", "invalid_resource", 500011), (GLOBAL + "//.default", "invalid_resource", 500011)):
        is_refused(ask(sim, scope=scope), 400, error, number)
    sim.switch("tokens", cloud="us")
    assert ask(sim, scope=US + "/.default").status == 200
    is_refused(ask(sim), 400, "invalid_resource", 500011)


@check
def e4_the_audience_is_compared_exactly(sim, o):
    clients(sim)
    tokens = {r: token(sim, scope=r + "/.default") for r in (GLOBAL, AI, US, "https://cognitiveservices.azure.cn")}
    for scope, good in (("global", 0b0011), ("cognitiveservices", 0b0001), ("ai", 0b0010), ("us", 0b0100), ("cn", 0b1000), ("any", 0b1111)):
        sim.switch("az", token_scope=scope)
        for n, t in enumerate(tokens.values()):
            assert files(sim, t).status == (200 if good >> n & 1 else 401), (scope, n)
    assert files(sim, tokens[GLOBAL][:-1]).status == files(sim, tokens[GLOBAL] + "x").status == 401


@check
def e5_a_revoked_token_is_401_in_three_forms(sim, o):
    clients(sim)
    def revoke(**which):
        return sim.control("POST", "revoke", which).json()["revoked"]
    a, b, c = token(sim), token(sim, client_id="two", client_secret="two"), token(sim, tenant="fabrikam", client_secret="other")
    assert revoke(client_id="one", tenant="contoso") == 1
    is_azure_error(files(sim, a), 401, "401", "Access token is missing")
    assert files(sim, b).status == files(sim, c).status == 200
    assert revoke(client_id="two", answer="bare") == 1
    assert files(sim, b).status == 401 and set(files(sim, b).json()) == {"statusCode", "message"}
    assert revoke(answer="challenge") == 1 and revoke() == 0
    x = files(sim, c)
    assert x.status == 401 and 'error="insufficient_claims"' in x.headers["www-authenticate"]
    assert files(sim, token(sim)).status == 200
    assert sim.control("POST", "revoke", {"answer": "?"}).status == 400
    sim.switch("az", token_401="bare")
    assert "error" not in files(sim, a).json() and files(sim, "unknown").status == 401
    assert [t["refused"] for t in ledger(sim)["tokens"]] == [2, 2, 1, 0] and ledger(sim)["tokens"][0]["revoked"]


@check
def e6_a_role_that_is_missing_is_told_with_its_principal(sim, o):
    clients(sim)
    t = token(sim)
    sim.switch("az", role_missing=["oid-one"])
    is_azure_error(files(sim, t), 401, "PermissionDenied", "The principal `oid-one` lacks the required data action `Microsoft.CognitiveServices/accounts/OpenAI/files/read`")
    assert files(sim, token(sim, client_id="two", client_secret="two")).status == 200
    sim.switch("az", role_missing="*", role_text="plain")
    is_azure_error(files(sim, t), 401, "PermissionDenied", "Principal does not have access to API/Operation.")
    sim.switch("az", role_missing="")
    assert files(sim, t).status == 200


@check
def e7_keys_may_be_switched_off(sim, o):
    clients(sim)
    sim.switch("az", local_auth=False)
    key = {"api-key": "azure-key"}
    is_azure_error(files(sim, **key), 403, "AuthenticationTypeDisabled", "disabled for this resource")
    assert files(sim, token(sim)).status == files(sim, token(sim), **key).status == 200
    z = Azure(sim, None, v1=True)
    z.auth = {"Authorization": "Bearer azure-key"}
    is_azure_error(z.call("GET", "/files"), 403, "AuthenticationTypeDisabled")


@check
def e8_the_end_of_a_token_is_spelt_in_many_ways(sim, o):
    clients(sim)
    def spelt(expiry):
        sim.switch("tokens", expiry=expiry)
        a = ask(sim).json()
        return a.get("expires_in", ...), a.get("expires_on", ...)
    now = sim.control("GET", "ledger").json()["now"]
    assert spelt("native") == spelt("number") == (3599, ...)
    assert spelt("string") == ("3599", ...)
    for name in ("on", "on_number"):
        i, on = spelt(name)
        assert i is ... and type(on) is (str if name == "on" else int) and now + 3599 <= int(on) < now + 3700
    assert type(spelt("strings")[1]) is str and type(spelt("numbers")[1]) is int
    i, on = spelt("contradictory")
    assert i == 1799 and int(on) >= now + 3599
    assert spelt("overstated")[0] == 7198
    for name, form in (("date_us", 19), ("date_us_zone", 26), ("date_us_half_day", 29), ("date_dash", 19), ("date_iso", 20), ("date_iso_zone", 25)):
        assert spelt(name)[0] is ... and len(spelt(name)[1]) == form, spelt(name)
    assert spelt("none") == (..., ...) and spelt("zero") == (0, ...) and spelt("negative") == (-3599, ...)
    assert spelt("huge") == (99999999999999999999, ...) and spelt("fraction") == (3599.5, ...) and spelt("words") == ("an hour", "soon")
    assert spelt("null") == (None, ...)


@check
def e9_answers_carry_what_the_switches_say(sim, o):
    clients(sim)
    sim.switch("tokens", refresh_in_s=1800, not_before_s=300, token_bytes=16384, token_type="bearer", token_extra=True)
    a = ask(sim).json()
    assert a["refresh_in"] == 1800 and a["token_type"] == "bearer" and len(a["access_token"]) == 16384 and a["x_extra"]
    assert a["not_before"] >= sim.control("GET", "ledger").json()["now"] + 299
    assert files(sim, a["access_token"]).status == 200
    sim.switch("tokens", token_bytes=0, token_inserted="\n")
    assert "\n" in ask(sim).json()["access_token"]
    sim.switch("tokens", token_inserted="", token_life_s=60)
    t = token(sim)
    assert files(sim, t).status == 200
    sim.advance(61_000)
    assert files(sim, t).status == 401


@check
def e10_too_many_calls_are_throttled(sim, o):
    clients(sim)
    sim.switch("tokens", throttle_calls=2)
    assert [ask(sim).status for _ in range(3)] == [200, 200, 429]
    a = ask(sim)
    assert a.body == b"Too Many Requests" and a.headers["retry-after"] == "60" and a.headers["content-type"] == "text/plain"
    assert ask(sim, scope=AI + "/.default").status == ask(sim, client_id="two", client_secret="two").status == 200
    sim.switch("tokens", throttle_retry="date")
    assert ask(sim).headers["retry-after"].endswith(" GMT")
    sim.switch("tokens", throttle_retry="none")
    assert "retry-after" not in ask(sim).headers
    sim.advance(11_000)
    assert ask(sim).status == 200
    sim.switch("tokens", throttle_calls=0, loop_calls=3)
    is_refused(ask(sim), 400, "invalid_grant", 50196)
    sim.fault({"status": 429}, account="tokens")
    assert ask(sim).body == b"Too Many Requests"
    sim.fault({"status": 503}, account="tokens")
    is_refused(ask(sim), 503, "temporarily_unavailable", 90033)


@check
def e11_errors_have_lines_and_the_callers_id(sim, o):
    clients(sim)
    me = "0f5a3c52-1111-2222-3333-444455556666"
    sim.switch("tokens", error_uri=True)
    e = ask(sim, client_secret="wrong", headers={"client-request-id": me}).json()
    assert e["correlation_id"] == me and "\r\nCorrelation ID: " + me + "\r\nTimestamp: " in e["error_description"]
    assert e["error_uri"].endswith("?code=7000215")
    sim.switch("tokens", error_crlf=False)
    assert "\r\n" not in ask(sim, client_secret="wrong").json()["error_description"]


@check
def e12_the_ledger_has_every_token_call(sim, o):
    clients(sim)
    ask(sim)
    ask(sim, client_secret="old")
    ask(sim, client_secret="wrong", scope=AI + "/.default")
    metadata(sim)
    metadata(sim, headers={})
    got = [(c["source"], c["tenant"], c["client_id"], c["credential"], c["scope"], c["status"], c["number"], c["token"]) for c in ledger(sim)["calls"]]
    scope = GLOBAL + "/.default"
    assert got[:3] == [("secret", "contoso", "one", "secret 2", scope, 200, 0, 1), ("secret", "contoso", "one", "secret 3", scope, 401, 7000222, 0),
                       ("secret", "contoso", "one", None, AI + "/.default", 401, 7000215, 0)], got
    assert [g[0] for g in got[3:]] == ["imds", "imds"] and got[3][4:] == (GLOBAL, 200, 0, 2) and got[4][5] == 400
    assert ledger(sim)["tokens"][0]["object_id"] == "oid-one" and [c["order"] for c in ledger(sim)["calls"]] == [1, 2, 3, 4, 5]
    assert sim.control("GET", "tokens?account=nobody").status == 404
    sim.reset()
    assert ledger(sim) == {"calls": [], "tokens": []}


MACHINE = [{"system": True, "client_id": "sys", "object_id": "oid-sys"},
           {"client_id": "uai", "object_id": "oid-uai", "resource_id": "/subscriptions/s/uai", "expires_in": 86400}]


def identities(sim, *list):
    assert sim.control("POST", "entra", {"account": "tokens", "identities": list or MACHINE}).status == 200


@check
def e13_the_metadata_service_chooses_identities(sim, o):
    identities(sim)
    assert metadata(sim).json()["client_id"] == "sys"
    for selector in ({"client_id": "uai"}, {"object_id": "oid-uai"}, {"msi_res_id": "/subscriptions/s/uai"}):
        a = metadata(sim, **selector).json()
        assert a["client_id"] == "uai" and a["expires_in"] == "86400" and int(a["expires_on"]) and files(sim, a["access_token"]).status == 200
    a = metadata(sim, client_id="nobody")
    assert a.status == 400 and a.json() == {"error": "invalid_request", "error_description": "Identity not found"}
    for more in ({"mi_res_id": "/subscriptions/s/uai"}, {"client_id": "uai", "object_id": "oid-uai"}, {"version": "2017-01-01"},
                 {"resource": None}, {"resource": "https://nowhere.example"}, {"headers": {}}, {"headers": {"Metadata": "True"}},
                 {"headers": {"Metadata": "true", "X-Forwarded-For": "10.0.0.1"}}):
        assert metadata(sim, **more).status == 400, more
    assert metadata(sim, method="POST").status == 405
    identities(sim, MACHINE[1])
    assert metadata(sim).json()["client_id"] == "uai"
    identities(sim, MACHINE[1], {"client_id": "third"})
    assert b"Multiple user assigned identities" in metadata(sim).body


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


def b64(data, safe=True):
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    return text.rstrip("=") if safe else text


class Certificate:
    """A key and its own certificate, and the assertions that a client makes with them."""

    def __init__(self, directory, name):
        self.key, self.pem = os.path.join(directory, name + ".key"), os.path.join(directory, name + ".pem")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "2", "-keyout", self.key, "-out", self.pem)
        self.der = openssl("x509", "-in", self.pem, "-outform", "DER")

    def remove(self):
        os.unlink(self.key)
        os.unlink(self.pem)

    def header(self, **more):
        head = {"alg": "PS256", "typ": "JWT", "x5t#S256": b64(hashlib.sha256(self.der).digest()), **more}
        return {k: v for k, v in head.items() if v is not None}

    def assertion(self, sim, header=None, salt=32, tamper=False, **claims):
        now = sim.control("GET", "ledger").json()["now"]
        body = {"aud": f"http://127.0.0.1:{sim.ports['tokens']}/contoso/oauth2/v2.0/token", "iss": "one", "sub": "one",
                "jti": str(uuid.uuid4()), "nbf": now, "exp": now + 600, **claims}
        head = self.header() if header is None else header
        signed = ".".join(b64(json.dumps({k: v for k, v in part.items() if v is not None}).encode()) for part in (head, body))
        pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{salt}"] if head["alg"] == "PS256" else []
        signature = openssl("dgst", "-sha256", "-sign", self.key, *pss, data=signed.encode() + (b"!" if tamper else b""))
        return signed + "." + b64(signature)


@check
def e14_a_signed_assertion_is_verified(sim, o):
    good, other = Certificate(sim.dir, "good"), Certificate(sim.dir, "other")
    try:
        clients(sim)
        client = {"client_id": "one", "tenant": "contoso", "certificates": [good.pem]}
        assert sim.control("POST", "entra", {"account": "tokens", "client": client}).status == 200
        def refused(number, **kw):
            is_refused(assert_with(sim, good.assertion(sim, **kw)), 401, "invalid_client", number)
        assert files(sim, assert_with(sim, good.assertion(sim)).json()["access_token"]).status == 200
        plain = b64(hashlib.sha256(good.der).digest(), safe=False)
        sha1 = b64(hashlib.sha1(good.der).digest())
        for header in (good.header(**{"x5t#S256": plain}), good.header(alg="RS256"), good.header(**{"x5t#S256": None, "x5t": sha1})):
            assert assert_with(sim, good.assertion(sim, header)).status == 200, header
        now = sim.control("GET", "ledger").json()["now"]
        refused(700027, tamper=True)
        refused(700027, salt=20)
        refused(700027, header=other.header())
        refused(5002738, header=good.header(alg="RS512"))
        for claims in ({"iss": "two"}, {"sub": "two"}, {"iss": None}):
            refused(700021, **claims)
        for aud in ("http://127.0.0.1/contoso/oauth2/v2.0/token", "https://login.microsoftonline.com/contoso/oauth2/v2.0/token", None):
            refused(700023, aud=aud)
        for claims in ({"nbf": now - 1}, {"nbf": now - 1200, "exp": now - 700}, {"nbf": now + 1200, "exp": now + 1500}, {"exp": now - 1}):
            refused(700024, **claims)
        for claims in ({"exp": None}, {"nbf": None}, {"jti": None}, {"jti": ""}):
            refused(50027, **claims)
        once = good.assertion(sim)
        assert assert_with(sim, once).status == 200
        is_refused(assert_with(sim, once), 401, "invalid_client", 50027)
        is_refused(assert_with(sim, good.assertion(sim), client_secret="second"), 400, "invalid_request", 7000218)
        is_refused(assert_with(sim, good.assertion(sim), client_assertion_type="x"), 401, "invalid_client", 7000218)
        calls = [c for c in ledger(sim)["calls"] if c["status"] == 200]
        assert {c["source"] for c in calls} == {"certificate"} and {c["credential"] for c in calls} == {"certificate " + hashlib.sha256(good.der).hexdigest()[:12]}
        sim.switch("tokens", assertion_alg="PS256")
        refused(5002738, header=good.header(alg="RS256"))
        sim.switch("tokens", clock_skew_s=1200)
        refused(700024)
        sim.switch("tokens", clock_skew_s=0)
        sim.control("POST", "entra", {"account": "tokens", "client": {**client, "chain": True, "certificates": [open(good.pem).read()]}})
        refused(700027)
        refused(700027, header=good.header(x5c=[b64(other.der, safe=False)]))
        assert assert_with(sim, good.assertion(sim, good.header(x5c=[b64(good.der, safe=False)]))).status == 200
        client = {"account": "tokens", "client": {**client, "certificates": [good.key]}}
        assert sim.control("POST", "entra", client).status == 400
    finally:
        good.remove()
        other.remove()


@check
def e15_foreign_assertions_are_compared(sim, o):
    clients(sim)
    def told(text):
        return assert_with(sim, text, client_id="two")
    a = told("good")
    assert a.status == 200 and files(sim, a.json()["access_token"]).status == 200
    for text, number in (("late", 700024), ("iss", 700211), ("sub", 700213), ("aud", 700212), ("unknown", 700213)):
        is_refused(told(text), 401, "invalid_client", number)
    is_refused(assert_with(sim, "anything"), 401, "invalid_client", 50027)
    trust = {"client_id": "two", "issuer": "https://oidc.example", "subject": "system:serviceaccount:ns:sa", "audience": "api://AzureADTokenExchange"}
    sim.control("POST", "entra", {"account": "tokens", "client": trust})
    now = sim.control("GET", "ledger").json()["now"]
    def jwt(**claims):
        body = {"iss": trust["issuer"], "sub": trust["subject"], "aud": trust["audience"], "exp": now + 3600, **claims}
        return ".".join(b64(json.dumps(p).encode()) for p in ({"alg": "RS256", "kid": "k"}, body)) + ".c2ln"
    assert told(jwt()).status == 200
    for claims, number in (({"iss": "x"}, 700211), ({"sub": "x"}, 700213), ({"aud": "x"}, 700212), ({"exp": now - 1}, 700024)):
        is_refused(told(jwt(**claims)), 401, "invalid_client", number)
    assert ledger(sim)["calls"][0]["credential"] == "assertion 1" and {c["source"] for c in ledger(sim)["calls"]} == {"assertion"}


@check
def e16_app_service_and_machine_learning_have_their_secrets(sim, o):
    identities(sim)
    def app(header="app-header", version="2019-08-01", **more):
        return metadata(sim, "/msi/token", version, headers={"X-IDENTITY-HEADER": header}, **more)
    a = app().json()
    assert "expires_in" not in a and int(a["expires_on"]) and a["resource"] == GLOBAL and files(sim, a["access_token"]).status == 200
    for more in ({"client_id": "uai"}, {"object_id": "oid-uai"}, {"principal_id": "oid-uai"}, {"mi_res_id": "/subscriptions/s/uai"}):
        assert app(**more).json()["client_id"] == "uai"
    assert app("wrong").status == 401 and app(version="2018-02-01").status == app(msi_res_id="/subscriptions/s/uai").status == 400
    assert app(client_id="x").json()["message"] == "Unable to load the proper Managed Identity."
    assert metadata(sim, "/msi/token", "2019-08-01").status == 401
    assert metadata(sim, "/msi/token/", "2019-08-01", headers={"X-IDENTITY-HEADER": "app-header"}).status == 200
    def ml(secret="ml-secret", version="2017-09-01", **more):
        return metadata(sim, "/MSI/auth", version, headers={"secret": secret}, **more)
    assert ml().json()["client_id"] == "sys" and ml(clientid="uai").json()["client_id"] == "uai"
    assert ml("wrong").status == 401 and ml(client_id="uai").status == ml(version="2019-08-01").status == 400
    fabric = metadata(sim, "/fabric/token", "2019-07-01-preview", headers={"secret": "fabric-secret"}).json()
    assert type(fabric["expires_on"]) is int
    assert metadata(sim, "/fabric/token", "2019-07-01-preview", headers={"secret": "x"}).status == 401
    assert [c["source"] for c in ledger(sim)["calls"] if c["token"]] == ["app_service"] * 5 + ["app_service"] + ["ml"] * 2 + ["fabric"]


@check
def e17_cloud_shell_takes_a_form(sim, o):
    identities(sim)
    def shell(method="POST", headers=None, **form):
        headers = {"Metadata": "true", "Content-Type": "application/x-www-form-urlencoded"} if headers is None else headers
        return request(sim.ports["tokens"], method, "/oauth2/token", urlencode({"resource": GLOBAL, **form}), headers)
    a = shell().json()
    assert a["client_id"] == "sys" and files(sim, a["access_token"]).status == 200
    assert shell("GET").status == 405 and shell(headers={}).status == shell(client_id="uai").status == 400
    assert shell(resource="").json()["error"]["code"] == "invalid_request"


@check
def e18_arc_asks_for_a_file_of_the_machine(sim, o):
    identities(sim)
    def arc(key=None, **more):
        return metadata(sim, version="2020-06-01", headers={"Metadata": "true", **({"Authorization": "Basic " + key} if key else {})}, **more)
    def challenge():
        a = arc()
        assert a.status == 401, a
        return re.fullmatch("Basic realm=(.*)", a.headers["www-authenticate"]).group(1)
    path = challenge()
    assert os.path.dirname(path) == sim.dir and path.endswith(".key") and os.stat(path).st_mode & 0o777 == 0o600
    key = open(path).read()
    a = arc(key, client_id="uai").json()
    assert a["client_id"] == "uai" and files(sim, a["access_token"]).status == 200
    assert arc(open(challenge()).read(), msi_res_id="/subscriptions/s/uai").json()["msi_res_id"] == "/subscriptions/s/uai"
    assert not os.path.exists(path) and arc(key).status == arc("wrong").status == 403
    sim.switch("tokens", arc_selects=False)
    assert arc(open(challenge()).read(), client_id="uai").json()["client_id"] == "sys"
    sim.switch("tokens", arc_key_bytes=5000)
    path = challenge()
    assert os.path.getsize(path) == 5000
    sim.switch("tokens", arc_realm="/etc/passwd")
    assert challenge() == "/etc/passwd"
    assert metadata(sim, version="2020-06-01", headers={}).status == 400
    sim.reset()
    assert not os.path.exists(path)


@check
def e19_odd_answers_are_faults(sim, o):
    clients(sim)
    sim.fault({"status": 200, "body": "<html>sign in</html>"}, account="tokens")
    a = ask(sim)
    assert a.status == 200 and a.headers["content-type"].startswith("text/html")
    sim.fault({"oversize": 70000}, account="tokens")
    assert len(ask(sim).body) == 70000
    sim.fault({"gzip": True}, account="tokens")
    assert ask(sim).headers["content-encoding"] == "gzip"
    sim.fault({"status": 307, "headers": {"location": "http://elsewhere.example/"}, "body": ""}, account="tokens")
    a = ask(sim)
    assert a.status == 307 and a.headers["location"] == "http://elsewhere.example/" and a.body == b""
    sim.fault({"status": 404}, account="tokens", path="/metadata/*")
    assert metadata(sim).status == 404


@check
def e20_the_samples_start(sim, o):
    for path in sorted((pathlib.Path(__file__).parent / "samples").glob("*.json")):
        other = Sim(sim.process.args[0], json.loads(path.read_text()))
        assert other.stop() == (0, []), path
