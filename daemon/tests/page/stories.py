"""Stories of the live page, told in a headless Chromium. `page.rs` sets the stage and names the stories as arguments."""

import csv
import json
import os
import re
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Page, expect, sync_playwright

BASE = os.environ["HARK_PAGE"]
TOKEN = os.environ["HARK_TOKEN"]
FOLDERS = Path(os.environ["HARK_FOLDERS"])
RECORDINGS = Path(os.environ["HARK_RECORDINGS"])
SCREENSHOTS = Path(os.environ["HARK_SCREENSHOTS"])
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 320, "height": 640}
# A machine that runs other tests at the same time may be slow.
PATIENCE = 30_000
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Browser:
    """Chromium, which reaches nothing but the daemon."""

    def __init__(self, chromium):
        self.chromium = chromium

    @contextmanager
    def page(self, logged_in=True, **options):
        """A page in a context of its own. Requests to elsewhere, errors in the console and breaches of the policy fail the story."""
        context = self.chromium.new_context(base_url=BASE, viewport=options.pop("viewport", DESKTOP), bypass_csp=False, **options)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        wrong = []
        page.on("request", lambda request: None if own(request.url) else wrong.append(f"asked for {request.url}"))
        page.on("pageerror", lambda error: wrong.append(f"script failed: {error}"))
        page.on("console", lambda message: wrong.append(message.text) if is_wrong(message) else None)
        prepare(page)
        if logged_in:
            log_in(page)
        yield page
        context.close()
        assert not wrong, wrong


def own(url):
    return url.startswith((BASE, "data:", "blob:"))


def is_wrong(message):
    # Chromium writes refused requests there too; the stories cause them.
    return message.type == "error" and "Failed to load resource" not in message.text


def prepare(page):
    """A place for what only a developer needs."""


def drop(name, folder, new_name=None):
    """Puts a recording into a watched folder, whole."""
    target = FOLDERS / folder / (new_name or name)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(RECORDINGS / name, part)
    part.rename(target)


def log_in(page, token=TOKEN):
    page.goto("/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="Running")).to_be_visible(timeout=PATIENCE)


def job(page: Page, name, state="completed"):
    """The job of a recording once it has this state, as the API shows it."""
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        found = [one for one in page.request.get("/api/jobs?limit=500").json()["jobs"] if one["name"] == name]
        if found and found[0]["state"] == state:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"{name} is not {state}: {found}")


def filled(page):
    """Some jobs of each kind: a call with two people, others, one that failed."""
    for name in ["call.wav", "thanks.wav", "move.wav", "refund.wav", "broken.wav"]:
        drop(name, "desk" if name == "call.wav" else "calls")
    for name in ["call.wav", "thanks.wav", "move.wav", "refund.wav"]:
        job(page, name)
    job(page, "broken.wav", "failed")


# --- A day with the page


def a_person_without_a_session_comes_back_to_where_they_wanted(browser):
    with browser.page(logged_in=False) as page:
        page.goto("/jobs?state=failed")
        expect(page).to_have_url(re.compile("/login"))
        page.get_by_label("Token").fill("guess")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_have_text("This is not the daemon's token.")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{BASE}/jobs?state=failed")
        expect(page.get_by_label("State", exact=True)).to_have_value("failed")
        expect(page.get_by_text("Live")).to_be_visible()
        # The session ends in another tab; the page notices it at its next question.
        page.context.clear_cookies()
        page.get_by_label("State", exact=True).select_option("completed")
        expect(page).to_have_url(re.compile("/login\\?next="))


def a_call_is_seen_while_it_is_heard(browser):
    with browser.page() as page:
        drop("live.wav", "calls")
        row = page.locator(".call", has_text="live.wav")
        expect(row).to_contain_text("calling about my contract")
        early = row.locator(".words").inner_text()
        expect(row.locator(".words")).not_to_have_text(early)
        expect(row).to_contain_text("recognizing")
        row.get_by_role("link", name="live.wav").click()
        line = page.locator(".live .line")
        expect(line).to_contain_text("being recognized")
        opened = page.locator("details.events > summary")
        opened.click()
        expect(page.locator(".alert", has_text="churn")).to_be_visible()
        expect(page.locator(".titled .state")).to_have_text("completed")
        expect(line).to_have_count(0)
        expect(page.locator(".lines .line").first).to_contain_text("which I want to cancel")
        # What a person has opened stays open, and keeps the focus.
        expect(page.locator("details.events code", has_text="job.completed")).to_be_visible()
        expect(opened).to_be_focused()
        page.get_by_role("link", name="Overview").click()
        alerts = page.get_by_role("region", name="Alerts")
        expect(alerts.get_by_role("link", name="churn")).to_be_visible()
        expect(page.get_by_role("region", name="Spend")).to_contain_text("of $0.050 today")


def jobs_that_ended_stay_a_while(browser):
    with browser.page() as page:
        drop("thanks.wav", "calls", "again.wav")
        row = page.locator(".call", has_text="again.wav")
        expect(row).to_contain_text("completed")
        row.get_by_role("link").first.focus()
        page.wait_for_timeout(11_000)
        expect(row).to_be_visible()
        row.get_by_role("link").first.blur()
        expect(row).to_have_count(0)


def the_list_is_filtered_and_the_address_keeps_it(browser):
    with browser.page() as page:
        filled(page)
        page.goto("/jobs")
        rows = page.locator("table.jobs tbody tr")
        page.get_by_label("Alert", exact=True).fill("billing")
        page.keyboard.press("Enter")
        expect(rows).to_have_count(2)
        page.get_by_label("Text", exact=True).fill("cancel my contract")
        page.get_by_role("button", name="Filter").click()
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("call.wav")
        expect(page).to_have_url(f"{BASE}/jobs?text=cancel+my+contract&alert=billing")
        page.reload()
        expect(rows).to_have_count(1)
        expect(page.get_by_label("Alert", exact=True)).to_have_value("billing")
        pill = rows.locator(".pill")
        pill.focus()
        expect(pill.locator(".tip")).to_be_visible()
        expect(pill).to_have_accessible_name(re.compile("2 alerts: (billing, churn|churn, billing)"))
        page.get_by_role("button", name="Filter").click()
        page.go_back()
        expect(rows).to_have_count(2)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        with open(download.value.path(), newline="") as file:
            names = {row["name"] for row in csv.DictReader(file)}
        assert names == {"call.wav", "refund.wav"}, names
        page.goto("/jobs?since=nonsense")
        expect(page.get_by_role("alert")).to_contain_text("since")


def a_list_that_was_hidden_is_read_again(browser):
    with browser.page() as page:
        page.goto("/jobs?text=appears+while+hidden")
        rows = page.locator("table.jobs tbody tr")
        expect(page.locator(".connection")).to_contain_text("Live")
        hide(page, True)
        drop("thanks.wav", "calls", "appears while hidden.wav")
        wait_for(page, "/api/jobs?state=completed&text=appears+while+hidden")
        expect(rows).to_have_count(0)
        hide(page, False)
        expect(rows).to_have_count(1)


def hide(page, is_hidden):
    """The tab goes behind another one, or comes back."""
    page.evaluate(
        """(isHidden) => {
            Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def wait_for(page, path):
    """Waits until a list of jobs is not empty."""
    until = time.monotonic() + PATIENCE / 1_000
    while not page.request.get(path).json()["jobs"]:
        assert time.monotonic() < until, path
        page.wait_for_timeout(500)


def a_call_is_read_as_a_dialogue_and_heard(browser):
    with browser.page() as page:
        page.goto("/jobs?text=cancel+my+contract&source=desk")
        page.get_by_role("link", name="call.wav").click()
        lines = page.locator(".lines:not(.live) .line")
        expect(lines).to_have_count(7)
        expect(lines.nth(0)).to_contain_text("agent")
        expect(lines.nth(1)).to_contain_text("customer")
        expect(lines.nth(1).locator(".alert")).to_contain_text("billing")
        expect(lines.nth(1).locator("mark")).to_have_text("charged twice")
        expect(lines.nth(3).locator(".emotion")).to_have_text("angry")
        emotions = page.get_by_role("list", name="Emotion of customer").get_by_role("listitem")
        expect(emotions.first).to_contain_text("angry")
        expect(page.get_by_role("region", name="Talk and silence")).to_contain_text("customer talks")
        expect(page.get_by_role("region", name="Facts")).to_contain_text("$0.0")
        lines.nth(3).get_by_role("button", name="Play 0:14").click()
        expect(lines.nth(3)).to_have_class(re.compile("spoken"))
        assert page.evaluate("document.querySelector('audio').currentTime") >= 14
        expect(lines.nth(0)).not_to_have_class(re.compile("spoken"))
        page.get_by_text("events", exact=False).locator("xpath=ancestor-or-self::summary").first.click()
        page.locator("summary", has_text="transcript.final").click()
        expect(page.locator("pre")).to_contain_text('"segments"')


def an_alert_that_was_retracted_is_struck_out(browser):
    with browser.page() as page:
        found = job(page, "call.wav")["job"]

        def with_retraction(route):
            told = route.fetch().json()
            raised = next(event for event in told["events"] if event["kind"] == "alert.raised")
            body = raised["body"] | {"reason": "the final has other words", "sequence": 900}
            told["events"].append({"id": "x", "kind": "alert.retracted", "stream_seq": None, "body": body})
            route.fulfill(json=told)

        page.route("**/events", with_retraction)
        page.goto(f"/jobs/{found}")
        expect(page.locator("s")).to_have_count(1)
        expect(page.locator(".alert", has_text="retracted: the final has other words")).to_be_visible()


def a_job_that_failed_says_what_to_do(browser):
    with browser.page() as page:
        page.goto(f"/jobs/{job(page, 'broken.wav', 'failed')['job']}")
        error = page.locator(".error")
        expect(error).to_contain_text("Check the recording")
        expect(page.get_by_role("heading", level=1)).to_have_text("broken.wav")


def an_operator_steers_from_the_page(browser):
    with browser.page() as page:
        source = page.get_by_role("region", name="Sources").get_by_role("listitem").filter(has_text="calls")
        source.get_by_role("button", name="Pause calls").press("Enter")
        expect(source).to_contain_text("paused")
        expect(source.get_by_role("button", name="Resume calls")).to_be_focused()
        drop("move.wav", "calls", "later.wav")
        source.get_by_role("button", name="Resume calls").click()
        expect(source).to_contain_text("running")
        found = job(page, "later.wav")["job"]
        page.goto(f"/jobs/{found}")
        page.get_by_role("button", name="Retry").click()
        page.get_by_role("link", name="A new job recognizes this recording again.").click()
        page.get_by_role("link", name="an earlier job").click()
        expect(page).to_have_url(f"{BASE}/jobs/{found}")


def the_overview_says_what_needs_a_person_and_what_to_do(browser):
    with browser.page() as page:

        def with_troubles(route):
            status = route.fetch().json()
            status["reload"] = {"at": status["time"], "applied": False, "changed": [], "needs_restart": [], "mistakes": ["harkd.toml:7:1: unknown key"]}
            status["recognizers"][0] |= {"held": True, "reason": "InvalidApiKey: put a key there"}
            paused = {"at": status["time"], "why": "410 Gone"}
            hook = {"name": "crm", "receiver": "http://127.0.0.1", "paused": paused, "backlog": 1, "waiting": [], "set_aside": [], "removed": 0, "delivering": True}
            failure = {"at": status["time"], "answer": "404 Not Found"}
            status["webhooks"] = [hook, hook | {"name": "log", "paused": None, "set_aside": [{"events": 1}], "last_failure": failure}]
            status["sources"].append(status["sources"][0] | {"name": "inbox", "kind": "nats"})
            route.fulfill(json=status)

        page.route("**/api/status", with_troubles)
        page.goto("/")
        expect(page.get_by_role("region", name="Config")).to_contain_text("not reloaded")
        expect(page.get_by_role("region", name="Config")).to_contain_text("harkd.toml:7:1: unknown key")
        expect(page.get_by_role("region", name="Recognizers")).to_contain_text("InvalidApiKey: put a key there")
        webhooks = page.get_by_role("region", name="Webhooks")
        expect(webhooks).to_contain_text("harkd webhooks resume crm")
        expect(webhooks).to_contain_text("1 event waits · 1 set aside: harkd webhooks retry log · last answer: 404 Not Found")
        expect(page.get_by_role("button", name="Pause inbox")).to_be_visible()
        expect(page.get_by_role("button", name="Scan inbox")).to_have_count(0)
        look = page.get_by_role("list", name="Parts with trouble")
        expect(look).to_be_hidden()
        page.set_viewport_size(PHONE)
        for words in ["config file not reloaded", "crm paused", "log set aside"]:
            expect(look.get_by_role("listitem").filter(has_text=words)).to_be_in_viewport()
        page.set_viewport_size(DESKTOP)
        page.get_by_role("link", name="Jobs that wait").click()
        expect(page).to_have_url(f"{BASE}/jobs?state=waiting")
        page.goto("/?wall=1")
        expect(page.locator(".strip.bad", has_text="config file: not reloaded")).to_be_visible()


def one_who_may_only_look_sees_no_button(browser):
    with browser.page(logged_in=False) as page:
        log_in(page, "looker")
        expect(page.get_by_text("This token may only read")).to_be_visible()
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        page.goto(f"/jobs/{job(page, 'call.wav')['job']}")
        expect(page.get_by_role("heading", level=1)).to_have_text("call.wav")
        expect(page.get_by_role("button", name="Retry")).to_have_count(0)
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(f"{BASE}/login")


def everything_is_reached_by_keyboard(browser):
    with browser.page() as page:
        page.goto("/jobs")
        expect(page.locator("table.jobs tbody tr").first).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        seen = []
        for _ in range(80):
            page.keyboard.press("Tab")
            here = page.evaluate(
                "() => { const e = document.activeElement; const o = getComputedStyle(e); "
                "return [e.tagName, e.getAttribute('name') ?? e.textContent, o.outlineStyle !== 'none'] }"
            )
            if here[0] == "BODY":
                break
            assert here[2] or here[0] in ("INPUT", "SELECT"), f"focus on {here} is not seen"
            seen.append(here[1])
        assert {"text", "alert", "source", "state", "since", "Download CSV"} <= set(seen), seen
        name = next(one for one in seen if one.endswith(".wav"))
        page.get_by_role("link", name=name).first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(name)


# --- Every page for everyone


def pages(page):
    """Each page of the daemon with its name."""
    return {
        "overview": "/",
        "jobs": "/jobs",
        "call": f"/jobs/{job(page, 'call.wav')['job']}",
        "failed": f"/jobs/{job(page, 'broken.wav', 'failed')['job']}",
        "wall": "/?wall=1",
        "login": "/login",
    }


def every_page_is_accessible_and_fits(browser):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with browser.page() as page:
        filled(page)
        paths = pages(page)
    drop("live.wav", "calls")
    faults = []
    for scheme in ["light", "dark"]:
        for screen, viewport in [("desktop", DESKTOP), ("phone", PHONE)]:
            with browser.page(viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as page:
                for name, path in paths.items():
                    page.goto(path)
                    page.locator("main h1, main .strip").first.wait_for(state="attached")
                    expect(page.locator("main section, main form").first).to_be_visible()
                    page.wait_for_timeout(300)
                    page.screenshot(path=SCREENSHOTS / f"{name}-{screen}-{scheme}.png", full_page=True)
                    faults += [f"{name} {screen} {scheme}: {fault}" for fault in axe(page) + too_wide(page)]
    assert not faults, "\n".join(faults)


def axe(page):
    page.evaluate(AXE)
    # Newer versions of axe have this rule switched on.
    rules = "{ 'label-content-name-mismatch': { enabled: true } }"
    found = page.evaluate(f"axe.run(document, {{ resultTypes: ['violations'], rules: {rules} }})")["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {fault['help']}: {[node['html'][:160] + ' ' + (node.get('failureSummary') or '') for node in fault['nodes'][:4]]}" for fault in serious]


def too_wide(page):
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return [f"scrolls sideways: {size}"] if size[0] > size[1] else []


# --- Figures


def the_first_frame_is_quick(browser):
    """Prints, for each page, the milliseconds to the first contentful paint and to the first rows, the best of some."""
    figures = {}
    with browser.page() as page:
        for name, path, content in [("overview", "/", "#running-title"), ("jobs", "/jobs", "table.jobs tbody tr")]:
            painted, full = [], []
            for _ in range(7):
                page.goto(path)
                page.locator(content).first.wait_for()
                # The browser adds the entry of a paint after the paint.
                painted.append(page.wait_for_function("performance.getEntriesByName('first-contentful-paint')[0]?.startTime").json_value())
                full.append(page.evaluate("new Promise(done => requestAnimationFrame(() => done(performance.now())))"))
            figures[name] = {"first_paint_ms": sorted(painted)[3], "filled_ms": sorted(full)[3]}
    print(json.dumps(figures))


STORIES = {
    "use": [
        a_person_without_a_session_comes_back_to_where_they_wanted,
        a_call_is_seen_while_it_is_heard,
        jobs_that_ended_stay_a_while,
        the_list_is_filtered_and_the_address_keeps_it,
        a_list_that_was_hidden_is_read_again,
        a_call_is_read_as_a_dialogue_and_heard,
        an_alert_that_was_retracted_is_struck_out,
        a_job_that_failed_says_what_to_do,
        an_operator_steers_from_the_page,
        the_overview_says_what_needs_a_person_and_what_to_do,
        one_who_may_only_look_sees_no_button,
        everything_is_reached_by_keyboard,
    ],
    "look": [every_page_is_accessible_and_fits],
    "figures": [the_first_frame_is_quick],
}


def main():
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Root in a container has no sandbox. The profile is a new one that is removed at the end.
        chromium = playwright.chromium.launch(executable_path=os.environ["HARK_CHROMIUM"], chromium_sandbox=False, args=FLAGS)
        for name in sys.argv[1:]:
            for story in STORIES[name]:
                begin = time.monotonic()
                story(Browser(chromium))
                print(f"# {story.__name__}: {time.monotonic() - begin:.1f} s", flush=True)
        chromium.close()


if __name__ == "__main__":
    main()
