"""Every page: on a phone's width, in the dark, with 200 layers, with JavaScript off."""

import pytest
from playwright.sync_api import expect

READY = "html[data-ready]"


@pytest.fixture(scope="session")
def paths(runs, hostile, deep) -> dict[str, str]:
    return {
        "home": "/",
        "run": "/runs/first%20run?compare=second%2Frun",
        "job": f"/jobs/{runs['again']}",
        "deep": f"/jobs/{deep}",
        "catalogue": "/catalogue",
        "optima": "/optima",
        "optimum": "/optima/10/4?decay=0.004",
        "new": "/new",
        "docs": "/docs",
    }


PAGES = ("home", "run", "job", "deep", "catalogue", "optima", "optimum", "new", "docs")


@pytest.mark.parametrize("name", PAGES)
def test_on_360_pixels_nothing_is_wider_than_the_page(service, paths, open_page, name) -> None:
    page = open_page(service.url(), paths[name], viewport={"width": 360, "height": 740}, color_scheme="dark")
    page.wait_for_selector(READY)
    for figure in page.locator("figure.plot").all():
        figure.scroll_into_view_if_needed()
        expect(figure).to_have_attribute("data-state", "drawn")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("h1").count() == 1
    unnamed = "input:not([aria-label]), select:not([aria-label]), textarea"
    assert (
        page.eval_on_selector_all(
            unnamed, "found => found.filter((one) => !one.labels.length).map((one) => one.outerHTML)"
        )
        == []
    )


def test_the_report_to_be_sent_is_readable_on_360_pixels_in_the_dark_and_on_paper(service, runs, open_page) -> None:
    address = f"/v1/jobs/{runs['again']}/report.html"
    page = open_page(service.url(), address, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    scales = page.locator("figure svg").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().width / one.width.baseVal.value)"
    )
    assert min(scales) > 0.79
    ink, ground = page.locator("figure .role-axis-label text").first, page.locator("figure svg > rect").first
    expect(ink).to_have_css("fill", "rgb(232, 232, 232)")
    expect(ground).to_have_css("fill", "rgb(22, 24, 29)")
    page.emulate_media(media="print")
    expect(ink).to_have_css("fill", "rgb(34, 34, 34)")
    expect(ground).to_have_css("fill", "rgb(255, 255, 255)")


def test_figures_are_dark_where_the_page_is(service, paths, open_page) -> None:
    page = open_page(service.url(), paths["job"], color_scheme="dark")
    figure = page.locator("figure.plot").first
    expect(figure).to_have_attribute("data-state", "drawn")
    ink = "figure.plot .role-axis-label text"
    expect(page.locator(ink).first).to_have_attribute("fill", "#e8e8e8")
    page.emulate_media(color_scheme="light")
    expect(page.locator(ink).first).to_have_attribute("fill", "#222222")


def test_of_200_layers_all_are_in_the_table_and_one_is_chosen_for_its_figure(service, deep, open_page) -> None:
    page = open_page(service.url(), f"/jobs/{deep}")
    expect(page.get_by_role("rowheader", name="layer199", exact=True)).to_be_attached()
    choose = page.get_by_label("Gram matrix of one layer")
    expect(choose.locator("option")).to_have_count(200)
    drawn = page.locator(".chooser", has=choose).locator("figure")
    choose.select_option(index=198)
    page.locator(".chooser", has=choose).get_by_role("button", name="Next").click()
    expect(drawn.locator("figcaption")).to_contain_text("layer199")
    expect(drawn).to_have_attribute("data-state", "drawn")
    page.get_by_label("all").check()
    expect(page.locator("#layers ~ div thead th").nth(20)).to_be_attached()
