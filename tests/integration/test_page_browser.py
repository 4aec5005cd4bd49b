"""The page `/ui` in a browser: it logs in, shows what is there as text, says what is wrong and when it cannot refresh, fits a phone, and
has nothing that axe-core finds. `scripts/test --long` installs Chromium and the packages that drive it. With TRANCHE_SCREENSHOTS set to
a folder, pictures of it are left there."""

import os
import pathlib
import signal

import pytest
from browser import Browser
from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, lines, sim_config, until
from test_late_moves import ROOM, late, made, refused, wait_moved
from test_late_moves import config as moves_config

pytestmark = pytest.mark.long
ROWS = "document.querySelectorAll('#{} > *').length"
MARKUP = "<img src=x onerror=\"document.title='run'\"><b id=planted>bold</b>"


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


def enter(browser, gateway, key=MASTER_KEY, **look):
    browser.open(gateway.url + "/ui", **look)
    browser.until("!document.querySelector('#login').hidden")
    browser.do("type", into="#key", text=key)
    browser.do("press", key="Enter")
    browser.until("document.querySelector('#app').dataset.asked")


def picture(browser, name):
    folder = os.environ.get("TRANCHE_SCREENSHOTS")
    if folder:
        browser.do("picture", path=str(pathlib.Path(folder) / f"{name}.png"))


def test_an_operator_logs_in_sees_what_is_there_and_logs_out(start, sim, browser):
    gateway = start(balanced_config(sim), sim=sim)
    batch = gateway.created(gateway.uploaded(lines(count=40))["id"])
    browser.open(gateway.url + "/ui")
    browser.until("document.activeElement.id === 'key'")
    assert browser.do("axe") == []
    browser.do("type", into="#key", text="sk-wrong-0f1e2d3c4b5a")
    browser.do("press", key="Enter")
    browser.until_text("#login-error", "not known")
    enter(browser, gateway)
    assert browser.value(ROWS.format("deployments")) == 3
    browser.until_text("#ledger", batch["id"])
    browser.until_text("#workers", str(gateway.workers()[0]))
    assert browser.value("document.querySelector('#key').value") == ""
    cookie, = [c for c in browser.do("cookies") if c["name"] == "tranche_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert browser.value("document.cookie") == ""
    for name, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 390), ("narrow-dark", "dark", 390)):
        browser.do("look", scheme=scheme, width=width)
        assert browser.do("axe") == [], name
        assert browser.value("document.documentElement.scrollWidth") <= width, f"{name}: it is wider than its window"
        picture(browser, name)
    assert all(url.startswith(gateway.url + "/ui") for url in browser.do("asked"))
    browser.do("click", on="#logout")
    browser.until("!document.querySelector('#login').hidden && document.querySelector('#app').hidden")
    assert [line for line in browser.do("said") if "error" in line and "401" not in line] == []


def test_what_others_wrote_is_text_and_never_markup(start, sim, browser):
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"] = [azure_deployment(sim, "eu", group=MARKUP)]
    config["model_list"][0]["model_info"]["id"] = "<i>row</i><img/src=x>"
    gateway = start(config, sim=sim)
    sim.fault({"status": 500, "body": '{"error":{"message":"' + MARKUP.replace('"', "'") + '"}}'}, account="eu", times=1000)
    gateway.get("/v1/batches")
    enter(browser, gateway)
    browser.until_text("#deployments", "<i>row</i>")
    browser.until_text("#deployments", MARKUP)
    assert browser.value("document.querySelector('#planted, #app img, #deployments i i, #events b')") is None
    assert "run" not in browser.value("document.title")
    sim.clear_faults()


def test_what_is_wrong_stands_at_the_top_with_what_to_do(start, sim, browser):
    gateway = start(balanced_config(sim), sim=sim)
    enter(browser, gateway)
    sim.fault({"status": 401}, account="sw", times=10000)

    def told():
        gateway.get("/v1/batches")
        return "gpt-4o-batch-sw" in browser.text("#problems")

    def named():
        problems = browser.text("#problems")
        return told() and ("key was refused" in problems or "auth" in problems)

    until(told, "the page tells of the deployment in trouble")
    until(named, "the page tells why")
    browser.until_text("#deployments > li:first-child", "gpt-4o-batch-sw")
    assert browser.do("axe") == []
    sim.clear_faults()


def test_it_says_when_it_cannot_refresh_and_goes_on_by_itself(start, sim, browser):
    gateway = start(balanced_config(sim), sim=sim)
    enter(browser, gateway)
    gateway.wait_line("generation 1 serves")  # all were started
    pids = [gateway.pid, *gateway.workers()]  # the master, too: it kills a child whose heart stands still
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        browser.until_text("#refreshed", "Cannot refresh")
        assert browser.value(ROWS.format("deployments")) == 3, "what was known is still shown"
        assert browser.do("axe") == []
        for pid in pids[1:]:
            os.kill(pid, signal.SIGCONT)
        browser.until_text("#refreshed", "Refreshes by itself")
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
    browser.do("click", on="#pause")
    browser.until_text("#refreshed", "Paused")
    browser.do("click", on="#pause")
    browser.until_text("#refreshed", "Refreshes by itself")


def test_with_a_journal_batches_have_progress_and_owner(start, sim, browser, tmp_path):
    gateway = start(balanced_config(sim, tranche_settings={"database": f"sqlite://{tmp_path}/journal.db"}), sim=sim)
    batch = gateway.created(gateway.uploaded(lines(count=40))["id"])
    sim.advance(120_000)
    gateway.get(f"/v1/batches/{batch['id']}")
    enter(browser, gateway)
    browser.until_text("#batches", batch["id"])
    browser.until_text("#batches", "of 40")
    browser.until_text("#batches", "master key")
    assert GROUP in browser.text("#batches")
    for name, scheme, width in (("journal", "light", 1280), ("journal-narrow-dark", "dark", 390)):
        browser.do("look", scheme=scheme, width=width)
        assert browser.do("axe") == []
        picture(browser, name)


def test_with_a_journal_a_moved_batch_says_where_it_was(start, make_sim, browser, tmp_path):
    sim = make_sim(sim_config([late("eu", ROOM), late("us", 1_000_000)]))
    gateway = start(moves_config(sim, f"sqlite://{tmp_path}/journal.db"), sim=sim)
    _, batch = made(gateway, sim)
    refused(sim)
    wait_moved(gateway, batch)
    enter(browser, gateway)
    browser.until_text("#batches", "moved from gpt-4o-batch-eu")
    assert browser.do("axe") == []
    picture(browser, "moved")


def test_buttons_cancel_a_batch_and_cool_a_deployment_down(start, sim, browser):
    gateway = start(balanced_config(sim, accounts=["eu", "us"]), sim=sim)
    batch = gateway.created(gateway.uploaded(lines(count=40))["id"])
    enter(browser, gateway)
    browser.until_text("#ledger, #ledger-box", batch["id"])
    browser.do("click", on="#ledger button")
    browser.until_text("#done", "is being cancelled")
    assert gateway.get(f"/v1/batches/{batch['id']}").json()["status"] in ("cancelling", "cancelled")
    browser.do("click", on="#deployments > li:first-child button")
    browser.until_text("#done", "no new work")
    browser.until_text("#problems", "an operator said so")
    assert browser.do("axe") == []
    picture(browser, "cooled")
    browser.do("click", on="#deployments > li:first-child button")
    browser.until_text("#done", "in service again")
