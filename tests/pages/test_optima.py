"""The phase diagram: a table for the keyboard; each cell opens its solution."""

import numpy as np
import safetensors.numpy
from playwright.sync_api import expect


def test_the_arrow_keys_go_through_the_table_and_enter_opens_a_solution(service, client, open_page) -> None:
    page = open_page(service.url(), "/optima")
    table = page.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_count(14)
    first = table.get_by_role("link").first
    first.focus()
    for key in ["ArrowRight"] * 8 + ["ArrowDown"] * 2:
        page.keyboard.press(key)
    here = table.locator("a:focus")
    expect(here).to_have_attribute("href", "/optima/10/4?decay=0.004")
    expect(table.locator("a[tabindex='0']")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("K = 10, L = 4, decay 0.004")
    entry = page.request.get("/v1/optima/10/4?decay=0.004").json()
    expect(page.locator(".verdict li")).to_have_text(entry["sentences"])
    expect(page.locator(".crumbs")).to_have_text("Optima › K = 10, L = 4")
    expect(page.locator("canvas[role=img]")).to_have_count(5)
    matrices = safetensors.numpy.load(page.request.get("/v1/optima/10/4/solution.safetensors?decay=0.004").body())
    for name, matrix in matrices.items():
        told = page.locator("#singular ~ .scroll tr", has=page.get_by_role("rowheader", name=name, exact=True)).locator(
            "td"
        )
        values = [float(text) for text in told.inner_text().split(",")]
        np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-3, atol=1e-9)


def test_the_decay_is_chosen_and_kept_in_the_address(service, open_page) -> None:
    page = open_page(service.url(), "/optima")
    page.get_by_label("Decay λ̄").select_option("0.016")
    page.get_by_label("Colour by").select_option("loss")
    expect(page.get_by_role("table").get_by_role("link").first).to_have_attribute("href", "/optima/2/2?decay=0.016")
    expect(page.locator("#figure figure")).to_have_attribute("data-state", "drawn")
    page.reload()
    expect(page.get_by_label("Decay λ̄")).to_have_value("0.016")


def test_the_catalogue_of_metrics_is_searched(service, open_page) -> None:
    page = open_page(service.url(), "/catalogue")
    cards = page.locator("article.card")
    entries = page.request.get("/v1/catalogue").json()
    expect(cards).to_have_count(len(entries))
    for entry in entries:
        expect(page.locator(f"#{entry['name']} .formula")).to_have_attribute("aria-label", entry["formula"])
    page.get_by_label("Search").fill("simplex tight frame")
    expect(page.locator("#told")).not_to_contain_text(f"{len(entries)} metrics")
    expect(page.locator("#simplex_etf_distance")).to_be_visible()


def test_the_interface_is_described(service, open_page) -> None:
    page = open_page(service.url(), "/docs#post-/v1/jobs")
    operation = page.locator("details[open]")
    expect(operation).to_contain_text("TrainDufmJob")
    operation.get_by_role("link", name="TrainDufmJob").click()
    expect(page.locator("#TrainDufmJob")).to_contain_text("learning_rate")
    document = page.request.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method in operations:
            expect(page.locator(f"[id='{method}-{path}']")).to_be_attached()
