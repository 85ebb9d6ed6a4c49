"""The tab Sample in a real browser: results as they are made, what the user says of them, reload, two tabs, errors."""

import io
import json
import zipfile

import pytest

pytestmark = pytest.mark.slow


def press_sample(page, **fields):
    """Set fields and press Sample."""
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_role("button", name="Sample", exact=True).click()


def start(page, **fields):
    """Set fields, press Sample, and return the job that is shown then."""
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        press_sample(page, **fields)
    assert answer.value.status == 202, answer.value.text()
    return page.locator(f"#panel-sample [data-job='{answer.value.json()['id']}']")


def badge(job, state="done"):
    return job.locator(f".badge[data-state={state}]")


def done(page, expect, **fields):
    """A job as `start` returns it, once it is done."""
    job = start(page, **fields)
    expect(badge(job)).to_be_visible()
    return job


def test_results_are_kept_rated_renamed_discarded_and_packed(served, open_page, expect):
    page = open_page(served)
    page.get_by_label("Class").select_option("star")
    job = done(page, expect, Count=3, Seed=11, Steps=2)
    cards = job.locator(".card")
    expect(cards).to_have_count(3)
    expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 16)
    cards.nth(0).get_by_role("button", name="Keep").click()
    expect(cards.nth(0).get_by_role("button", name="Kept")).to_have_attribute("aria-pressed", "true")
    cards.nth(0).get_by_text("★").nth(3).click()
    cards.nth(0).get_by_label("Name").fill("best star")
    cards.nth(0).get_by_label("Name").press("Enter")
    cards.nth(1).get_by_role("button", name="Discard").click()
    expect(cards.nth(1)).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(cards.nth(1)).to_be_visible()
    with page.expect_download() as download:
        job.get_by_role("link", name="Download pack").click()
    pack = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    assert "samples.json" in pack.namelist()
    assert sum(name.endswith(".png") for name in pack.namelist()) >= 3

    page.reload()  # the server has it all
    card = job.locator(".card").first
    expect(card.get_by_label("Name")).to_have_value("best star")
    expect(card.get_by_role("radio", name="4 of 5")).to_be_checked()
    expect(page.get_by_label("Count")).to_have_value("3")  # and the form is as it was
    expect(page.get_by_label("Class")).to_have_value("star")
    page.get_by_role("radio", name="Kept").check()
    expect(page.locator("#panel-sample .card:visible")).to_have_count(1)


def test_progress_steps_of_denoising_and_cancel(served, open_page, expect):
    page = open_page(served)
    job = done(page, expect, Count=2, Steps=3)
    job.get_by_text("Steps of denoising").click()
    slider = job.get_by_label("Step of denoising")
    expect(job.locator("output")).to_have_text("after step 3")
    slider.press("Home")
    expect(job.locator("output")).not_to_have_text("after step 3")
    running = start(page, Count=64, Steps=1000)  # far longer than the test waits
    expect(running.locator(".live img")).to_be_visible()  # the estimate so far
    expect(running).to_contain_text("step")
    running.get_by_role("button", name="Cancel").click()
    expect(badge(running, "cancelled")).to_be_visible()
    expect(page.locator("#queue summary")).to_have_text("Jobs")


def test_players_and_copies_of_what_was_done(served, open_page, expect):
    page = open_page(served)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Model").select_option("effects")
    expect(page.get_by_label("Length (s)", exact=True)).to_be_visible()
    job = done(page, expect, Count=2, Steps=2, Seed=7)
    expect(job.locator("audio")).to_have_count(2)
    expect(job.locator(".media img").first).to_be_visible()
    copied, before = {}, ""
    for name in ("command", "Python", "recipe"):
        job.get_by_role("button", name=f"Copy {name}").click()
        page.wait_for_function("async (before) => (await navigator.clipboard.readText()) !== before", arg=before)
        copied[name] = before = page.evaluate("() => navigator.clipboard.readText()")
    assert copied["command"].startswith("sonolux sample") and "seed=7" in copied["command"]
    assert "pipeline.sample(" in copied["Python"]
    assert "steps: 2" in copied["recipe"]
    page.get_by_label("Steps", exact=True).fill("9")
    job.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("2")


def test_windows_cover_results_longer_than_those_of_training(served, open_page, expect):
    page = open_page(served)
    page.get_by_label("Model").select_option("effects")
    page.get_by_text("More settings").click()
    page.get_by_label("Length (s)", exact=True).fill("1")  # trained on 0.5
    page.get_by_label("Overlap of windows", exact=True).fill("0.5")
    job = done(page, expect, Count=1, Steps=2)
    expect(job.locator("audio")).to_have_count(1)
    made = page.request.get(served.url + f"api/jobs/{job.get_attribute('data-job')}").json()
    assert (made["request"]["seconds"], made["request"]["windows"]) == (1, 0.5) and made["items"][0]["seconds"] == 1


def test_two_tabs_show_the_same_jobs(served, open_page, expect):
    first = open_page(served)
    second = open_page(served, context=first.context)
    job = done(first, expect, Count=1, Steps=2, Seed=123)
    second.bring_to_front()
    other = second.locator(f"#panel-sample [data-job='{job.get_attribute('data-job')}']")
    other.get_by_role("button", name="Keep").click()
    expect(other.get_by_role("button", name="Kept")).to_be_visible()
    first.reload()
    expect(job.get_by_role("button", name="Kept")).to_be_visible()


def test_errors_are_shown_in_place(served, open_page, expect):
    page = open_page(served)
    page.allowed.append("400")  # browsers write refused requests to the console
    page.allowed.append("ERR_FAILED")
    press_sample(page, Count=2, Steps=5000)
    message = page.locator("#panel-sample form [role=alert]")
    expect(message).to_contain_text("steps")
    press_sample(page, Steps=2)
    expect(message).to_be_hidden()
    page.route("**/api/jobs", lambda route: route.abort())
    press_sample(page, Steps=2)
    expect(message).to_contain_text("does not answer")


def test_hostile_texts_stay_texts(served, open_page, expect):
    page = open_page(served)
    job = done(page, expect, Count=1, Steps=2, Seed=77)
    card = job.locator(".card")
    name = "<img src=x onerror=alert(1)> & <b>"
    card.get_by_label("Name").fill(name)
    card.get_by_label("Name").press("Enter")
    page.reload()
    expect(job.get_by_label("Name")).to_have_value(name)
    expect(page.locator("img[src=x]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_windows_and_names_of_controls(served, open_page, expect, check_layout, scheme):
    page = open_page(served, width=400, color_scheme=scheme, reduced_motion="reduce")
    done(page, expect, Count=2, Steps=2)
    for name in ("sample", "compare", "edit", "training", "data"):
        page.get_by_role("tab", name=name).click()
        page.locator(f"#panel-{name}[data-ready]").wait_for(state="attached")
        check_layout(page)


def test_keyboard_alone(served, open_page, expect):
    page = open_page(served)
    page.get_by_role("tab", name="Sample").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Compare")).to_be_focused()
    expect(page.locator("#panel-compare")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#panel-sample")).to_be_visible()
    seed = page.locator("#panel-sample").get_by_label("Seed", exact=True)
    seed.fill("4321")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#panel-sample .job").filter(has_text="seed 4321")).to_have_count(1)
    style = seed.evaluate("node => (node.focus(), getComputedStyle(node).outlineStyle)")
    assert style == "solid"  # the focus is visible


def test_fields_follow_the_conditions_of_the_model(served, open_page, expect):
    described = open_page(served).request.get(served.url + "api/models/shapes").json()
    described["conditions"] = [
        {"name": "caption", "kind": "text"},
        {"name": "colours", "kind": "labels", "values": ["red", "green", "blue"]},
        {"name": "length", "kind": "scalar", "range": [0.1, 10], "log": True},
        {"name": "low", "kind": "reference", "takes_item": True},
    ]
    context = open_page(served).context
    context.route("**/api/models/shapes", lambda route: route.fulfill(json=described))
    sent = []
    context.route("**/api/jobs", lambda route: (sent.append(route.request.post_data_json), route.abort()))
    page = open_page(served, context=context)
    page.allowed.append("ERR_FAILED")
    page.get_by_label("Prompt", exact=True).fill("a dog")
    page.get_by_label("Negative prompt").fill("a cat")
    page.get_by_label("red", exact=True).check()
    page.get_by_label("blue", exact=True).check()
    page.get_by_label("Length, slider").press("End")
    page.get_by_label("Height").fill("24")
    expect(page.get_by_label("Low")).to_be_visible()
    press_sample(page, Count=1)
    expect(page.locator("#panel-sample form [role=alert]")).to_be_visible()
    [request] = sent
    assert (request["prompt"], request["negative"], request["size"]) == ("a dog", "a cat", [24, 16])
    assert request["conditions"] == {"colours": ["red", "blue"], "length": 10}
    assert not {"steps", "guidance", "use", "timesteps"} & set(request)  # defaults are left to the recipe


def test_each_model_has_its_own_settings(served, open_page, expect):
    """A model that is chosen for the first time shows its defaults, and one that is chosen again what was set."""
    context = open_page(served).context
    described = context.request.get(served.url + "api/models/shapes").json()
    state = context.request.get(served.url + "api/state").json()
    other = {**described, "name": "other", "defaults": {**described["defaults"], "steps": 7}}
    context.route("**/api/state", lambda route: route.fulfill(json={**state, "models": ["shapes", "other"]}))
    context.route("**/api/models/other", lambda route: route.fulfill(json=other))
    page = open_page(served, context=context)
    model, steps = page.get_by_label("Model", exact=True).first, page.get_by_label("Steps", exact=True)
    steps.fill("9")
    model.select_option("other")
    expect(steps).to_have_value("7")
    model.select_option("shapes")
    expect(steps).to_have_value("9")


def test_openapi_names_what_the_page_asks(served, open_page):
    page = open_page(served)
    paths = json.loads(page.request.get(served.url + "openapi.json").text())["paths"]
    assert {"/api/jobs", "/api/items", "/api/uploads", "/api/pack"} <= set(paths)
