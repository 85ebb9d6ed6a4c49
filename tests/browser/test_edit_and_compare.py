"""The tabs Compare and Edit in a real browser: the same seeds twice, a sweep, a painted mask, a marked part, undo."""

import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def done(page, tab):
    return page.locator(f"#panel-{tab} .job:has(.badge[data-state=done])")


def sampled(served, page, model="shapes", **settings):
    """Items of a job that is done, started without the page."""
    headers = {"X-Sonolux": "1"}
    body = {"kind": "sample", "model": model, "count": 1, "steps": 2, "seed": 5, **settings}
    answer = page.request.post(served.url + "api/jobs", data=body, headers=headers)
    assert answer.status == 202, answer.text()
    for _ in range(600):
        job = page.request.get(served.url + f"api/jobs/{answer.json()['id']}").json()
        if job["state"] == "done":
            return job["items"]
        page.wait_for_timeout(100)
    raise AssertionError(job)


def picture(served, page, url):
    return np.asarray(Image.open(io.BytesIO(page.request.get(served.url.rstrip("/") + url).body())).convert("RGB"))


def shown(expect, place, count=1):
    """URLs of the pictures in an element, once there are as many."""
    pictures = place.locator("img")
    expect(pictures).to_have_count(count)
    return [pictures.nth(n).get_attribute("src") for n in range(count)]


def drawing_area(canvas):
    """Where a canvas is in the window, once it is there, in view and at rest."""
    canvas.hover(trial=True)  # waits for all of that, without an action
    return canvas.bounding_box()


def test_two_settings_side_by_side(served, open_page, expect):
    page = open_page(served, "#compare")
    page.get_by_label("Count", exact=True).fill("2")
    page.get_by_label("Steps", exact=True).nth(0).fill("2")
    page.get_by_role("button", name="Copy A to B").click()
    expect(page.get_by_label("Steps", exact=True).nth(1)).to_have_value("2")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(done(page, "compare")).to_have_count(1)
    a, b = (done(page, "compare").first.get_by_role("region", name=side, exact=True) for side in "AB")
    same = [[picture(served, page, url) for url in shown(expect, side, 2)] for side in (a, b)]
    assert all(np.array_equal(x, y) for x, y in zip(*same, strict=True))  # the same noise

    page.get_by_label("Steps", exact=True).nth(1).fill("5")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(done(page, "compare")).to_have_count(2)
    newest = done(page, "compare").first
    expect(newest.get_by_role("heading", name="B: shapes, steps 5")).to_be_visible()


def test_sweep_is_a_contact_sheet(served, open_page, expect):
    page = open_page(served, "#compare")
    page.get_by_role("radio", name="A sweep").check()
    page.get_by_label("Guidance scales").fill("1, 3")
    page.get_by_label("Numbers of steps").fill("2 3 x")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#panel-compare form [role=alert]")).to_contain_text("“x” is not a number")
    page.get_by_label("Numbers of steps").fill("2, 3")
    page.get_by_role("button", name="Compare", exact=True).click()
    table = done(page, "compare").first.get_by_role("table")
    guidances = table.get_by_role("columnheader").filter(has_text="guidance")
    expect(guidances).to_have_text(["guidance 1", "guidance 3"])
    expect(table.get_by_role("rowheader")).to_have_text(["steps 2", "steps 3"])
    assert len({picture(served, page, url).tobytes() for url in shown(expect, table, 4)}) == 4


def test_painted_mask_keeps_the_rest_and_undo_goes_back(served, open_page, expect):
    page = open_page(served, "#edit")
    [item] = sampled(served, page)
    page.goto(served.url + f"#edit?item={item['id']}")
    page.get_by_role("radio", name="Inpaint").check()
    canvas = page.locator("canvas.paint")
    page.get_by_role("button", name="Make").click()
    expect(page.locator("#panel-edit form [role=alert]")).to_contain_text("Paint the part")
    page.get_by_label("Brush", exact=True).fill("4")
    box = drawing_area(canvas)
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.25 * box["height"], steps=5)
    page.mouse.up()
    page.get_by_label("Count", exact=True).fill("1")
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Seed", exact=True).fill("9")
    page.get_by_role("button", name="Make").click()
    card = done(page, "edit").locator(".card")
    expect(card).to_have_count(1)
    before, after = picture(served, page, item["url"]), picture(served, page, shown(expect, card)[0])
    changed = (before != after).any(-1)
    painted = np.zeros((16, 16), bool)
    painted[2:6, 2:10] = True  # squares of 4 from (4, 4) to (8, 4), in elements of 16
    assert changed.any() and not changed[~painted].any()

    card.get_by_role("link", name="Edit").click()
    chain = page.get_by_role("navigation", name="History").get_by_role("listitem")
    expect(chain).to_have_count(2)
    page.get_by_role("button", name="Undo:").click()
    expect(page).to_have_url(served.url + f"#edit?item={item['id']}")
    page.go_back()
    expect(chain).to_have_count(2)
    page.reload()
    expect(chain).to_have_count(2)


def test_mask_by_keyboard(served, open_page, expect):
    page = open_page(served, "#edit")
    [item] = sampled(served, page, seed=6)
    page.goto(served.url + f"#edit?item={item['id']}")
    page.get_by_role("radio", name="Inpaint").check()
    page.get_by_label("Brush", exact=True).fill("6")
    canvas = page.locator("canvas.paint")
    drawing_area(canvas)
    canvas.press("Space")
    canvas.press("ArrowRight")
    canvas.press("Space")
    page.get_by_role("button", name="Undo stroke").click()
    page.get_by_label("Count", exact=True).fill("1")
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Make").click()
    expect(done(page, "edit").locator(".card")).to_have_count(1)
    result = picture(served, page, shown(expect, done(page, "edit").locator(".card"))[0])
    changed = (picture(served, page, item["url"]) != result).any(-1)
    assert changed.any() and not changed[:5].any() and not changed[11:].any() and not changed[:, 11:].any()


def test_marked_part_of_a_timeline(served, open_page, expect):
    page = open_page(served, "#edit")
    [item] = sampled(served, page, "effects")
    page.goto(served.url + f"#edit?item={item['id']}")
    page.get_by_role("radio", name="Inpaint").check()
    expect(page.get_by_role("button", name="Mark a part")).to_be_visible()
    box = drawing_area(page.locator("canvas.timeline"))
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.get_by_label("Start of part 1, in seconds")).to_have_value("0.10")  # of 0.5 s
    page.get_by_label("End of part 1, in seconds").fill("0.25")
    page.get_by_label("End of part 1, in seconds").press("Enter")
    page.get_by_label("Count", exact=True).fill("1")
    page.get_by_role("button", name="Make").click()
    expect(done(page, "edit").locator(".card")).to_have_count(1)
    job = page.request.get(served.url + "api/jobs").json()[0]
    [[start, end]] = job["request"]["spans"]
    assert start == pytest.approx(0.1, abs=0.003) and end == 0.25


def test_uploaded_file_is_varied(served, open_page, expect, tmp_path):
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "teal.png")
    page = open_page(served, "#edit")
    page.locator("#edit-file").set_input_files(tmp_path / "teal.png")
    expect(page.get_by_role("heading", name="teal")).to_be_visible()
    page.get_by_role("radio", name="Vary").check()
    page.get_by_label("Strength", exact=True).fill("0")
    page.get_by_label("Count", exact=True).fill("1")
    page.get_by_role("button", name="Make").click()
    card = done(page, "edit").locator(".card")
    expect(card).to_have_count(1)
    assert np.abs(picture(served, page, shown(expect, card)[0]) - np.float32([0, 128, 128])).max() <= 1  # strength 0

    (tmp_path / "notes.txt").write_text("no media")
    page.allowed.append("400")
    page.locator("#edit-file").set_input_files(tmp_path / "notes.txt")
    expect(page.locator("#panel-edit > [role=alert]")).not_to_be_empty()
