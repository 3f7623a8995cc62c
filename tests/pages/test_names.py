"""Names from users are text, wherever they stand."""

from urllib.parse import quote

import pytest
from browsing import HOSTILE, HOSTILE_LAYER, LONG, TRANSLATION
from playwright.sync_api import Page, expect


def require_no_markup(page: Page) -> None:
    assert page.locator("main img, main script, main b:text-is('bold')").count() == 0


def test_names_that_want_to_be_markup_stay_text(service, hostile, open_page) -> None:
    page = open_page(service.url())
    row = page.locator(f"tr[data-id={hostile[HOSTILE]}]")
    expect(row.locator("a .name")).to_have_text(HOSTILE)
    expect(row.get_by_role("button")).to_have_text([TRANSLATION, "<b>bold</b>"])
    require_no_markup(page)
    row.get_by_role("button", name="bold").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    row.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    encoded = quote(HOSTILE, safe="!*'()")
    assert page.url == f"{service.url()}/runs/{encoded}"
    expect(page.locator("#series figure")).to_have_attribute("data-state", "drawn")
    expect(page.locator("#step-report th[scope=row]").filter(has_text="onerror")).to_have_text(HOSTILE_LAYER)
    require_no_markup(page)
    page.locator("#step-report").get_by_role("link", name=hostile[HOSTILE]).click()
    layer = page.get_by_role("region", name="Layers: metrics by layer").get_by_role("rowheader", name="onerror")
    expect(layer).to_have_text(HOSTILE_LAYER)
    expect(page.locator("figure.plot").first).to_have_attribute("data-state", "drawn")
    figure = page.locator("figure.plot").first.locator(".drawing")
    figure.locator("svg [aria-roledescription='point']").last.hover()
    expect(page.locator("#vg-tooltip-element")).to_have_class("vg-tooltip visible page-theme")
    require_no_markup(page)


def test_a_name_of_the_greatest_length_breaks_nothing(service, hostile, open_page) -> None:
    page = open_page(service.url(), f"/runs/{LONG}", viewport={"width": 360, "height": 700})
    expect(page.get_by_role("heading", level=1)).to_have_text(LONG)
    expect(page.locator("#step-report tbody tr").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.network_errors
def test_an_address_with_markup_in_it_is_text(service, open_page) -> None:
    page = open_page(service.url(), f"/optima/{quote('<b>bold<img src=x>')}/4")
    expect(page.locator(".notice.error")).to_be_visible()
    require_no_markup(page)
