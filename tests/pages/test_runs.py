"""A run: its series, another run beside it, its steps, what was replaced."""

import pytest
from playwright.sync_api import expect


def test_the_list_leads_to_a_run_and_its_figure(service, runs, open_page) -> None:
    page = open_page(service.url())
    page.get_by_role("link", name="first run").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("first run")
    expect(page.locator(".crumbs")).to_have_text("Runs and jobs › first run")
    figure = page.locator("#series figure")
    expect(figure).to_have_attribute("data-state", "drawn")
    expect(figure.locator("svg path[aria-roledescription='line mark']")).to_have_count(3)
    page.get_by_label("Metric", exact=True).select_option("class_mean_rank")
    expect(page.locator("#series figcaption")).to_contain_text("rank")
    expect(page.locator("#series figure")).to_have_attribute("data-state", "drawn")
    assert "metric=class_mean_rank" in page.url
    page.reload()
    expect(page.get_by_label("Metric", exact=True)).to_have_value("class_mean_rank")


def test_two_runs_are_compared(service, runs, open_page) -> None:
    page = open_page(service.url(), "/runs/first%20run")
    compare = page.get_by_label("Compare with")
    expect(page.locator("#others option[value='second/run']")).to_have_count(1)
    compare.fill("second/run")
    compare.press("Enter")
    expect(page.locator("#series figcaption")).to_contain_text("second/run")
    figure = page.locator("#series figure")
    expect(figure).to_have_attribute("data-state", "drawn")
    expect(figure.locator("svg path[aria-roledescription='line mark']")).to_have_count(6)
    link = page.locator("#series-links a", has_text="CSV").get_attribute("href")
    table = page.request.get(link).text().splitlines()
    assert {row.split(",")[0] for row in table[1:]} == {"first run", "second/run"}
    page.get_by_role("link", name="second/run", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("second/run")


@pytest.mark.network_errors
def test_a_run_that_is_not_there_is_said_at_the_field(service, runs, open_page) -> None:
    page = open_page(service.url(), "/runs/first%20run")
    compare = page.get_by_label("Compare with")
    compare.fill("nowhere")
    compare.press("Enter")
    expect(page.locator("#compare-told")).to_contain_text("nowhere")
    expect(compare).to_have_attribute("aria-invalid", "true")


def test_the_slider_shows_each_step(service, runs, open_page) -> None:
    page = open_page(service.url(), "/runs/first%20run")
    slider = page.get_by_role("slider", name="Step")
    report = page.locator("#step-report")
    expect(slider).to_have_attribute("aria-valuetext", "step 20")
    expect(report.get_by_role("link", name=runs["first run 20"])).to_be_visible()
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "step 10")
    expect(report.get_by_role("link", name=runs["again"])).to_be_visible()
    expect(report.locator("figcaption")).to_contain_text("at step 10")
    sentences = page.request.get(f"/v1/jobs/{runs['again']}/verdict").json()["sentences"]
    assert sentences[-1].startswith("Since step 0: ")
    expect(report.locator(".verdict li")).to_have_text(sentences)
    expect(report.get_by_role("link", name="step 0")).to_have_attribute("href", f"/jobs/{runs['first run 0']}")
    slider.press("Home")
    expect(report.get_by_role("link", name=runs["first run 0"])).to_be_visible()
    measured = page.request.get(f"/v1/jobs/{runs['first run 0']}/report").json()["layers"]
    cells = report.locator("tbody tr").first.locator("td.number")
    expect(report.locator("tbody tr")).to_have_count(len(measured))
    expect(cells.first).to_have_text(str(measured[0]["dim"]))
    assert float(cells.nth(1).inner_text()) == float(f"{measured[0]['metrics']['variability_trace_ratio']:.4g}")


def test_a_replaced_analysis_stays_in_the_history(service, runs, open_page) -> None:
    page = open_page(service.url(), "/runs/first%20run")
    rows = page.locator("#analyses tbody tr")
    expect(rows).to_have_count(3)
    row = rows.filter(has=page.get_by_role("rowheader", name="10", exact=True))
    expect(row.get_by_role("link")).to_have_text([runs["again"], runs["first run 10"]])
    row.get_by_role("link", name=runs["first run 10"]).click()
    expect(page.locator("#verdict")).to_be_visible()
