"""Models that their provider ends soon: GET /v1/models says when, the log and POST /v1/files/validate pass it on."""

import time

from harness import MASTER_KEY, PROVIDER_KEYS, lines, sim_config


def day(days):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))


def world(start, make_sim, **models):
    sim = make_sim(sim_config([{"name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"],
                                "models": [{"name": name, "shutdown_date": ends} for name, ends in models.items()]}]))
    rows = [{"model_name": f"group-{name}", "litellm_params": {"model": f"openai/{name}", "api_base": sim.base("oai") + "/v1",
                                                               "api_key": PROVIDER_KEYS["oai"]}} for name in models]
    return start({"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                  "general_settings": {"master_key": MASTER_KEY}}, sim=sim), sim


def warnings(gateway, name):
    report = gateway.upload(lines(model=f"group-{name}"), target="/v1/files/validate").json()
    assert report["valid"] is True, report
    return report["warnings"]


def test_a_model_that_ends_soon_warns_in_validate_and_the_log(start, make_sim):
    """A nightly job was refused one morning: the provider had told the day for half a year."""
    soon, later = day(14), day(200)
    gateway, _ = world(start, make_sim, soon=soon, later=later, gone=day(-3), stays=None)
    gateway.wait_line(f"warn.*ends the model 'soon' on {soon}")
    gateway.wait_line("warn.*ended the model 'gone'")
    (warning,) = warnings(gateway, "soon")
    assert warning["code"] == "model_ends" and soon in warning["message"] and "'soon'" in warning["message"]
    assert "ended the model 'gone'" in warnings(gateway, "gone")[0]["message"]
    assert warnings(gateway, "later") == [] and warnings(gateway, "stays") == []
    assert gateway.upload(lines(model="group-soon")).status == 200


def test_the_list_of_models_is_read_once_a_day(start, make_sim):
    gateway, sim = world(start, make_sim, m=day(2))
    gateway.wait_line("ends the model 'm'")
    sim.advance(3_600_000)
    (request,) = [r for r in sim.requests(upkeep=True) if r["target"] == "/v1/models"]
    assert "(upkeep)" in request["headers"]["user-agent"]
