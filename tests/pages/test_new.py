"""The forms: a file is sent and measured, a job is started, what is wrong is said at its field."""

import numpy as np
import pytest
from browsing import layers
from feature_files import feature_arrays, write_file
from playwright.sync_api import expect


def test_a_file_is_sent_its_progress_watched_and_its_figures_seen(service, open_page, tmp_path) -> None:
    path = write_file(tmp_path / "features.safetensors", feature_arrays(num_samples=20_000, dims=(32, 24)))
    page = open_page(service.url(), "/new")
    # So slow that the sending can be seen.
    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 4_000_000},
    )
    form = page.locator("#upload")
    expect(form.locator("#upload-fields .field").first).to_be_visible()  # the page listens by then
    form.get_by_label("A safetensors or npz file").set_input_files(path)
    expect(page.locator("#file-told")).to_contain_text("features.safetensors, 4.64 MB")
    form.get_by_label("run", exact=True).fill("from the form")
    form.get_by_label("step", exact=True).fill("3")
    form.get_by_label("tags", exact=True).fill("one, two")
    form.get_by_role("button", name="Send and measure").click()
    expect(page.locator("#sent-told")).to_contain_text("of 4.64 MB")
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("#state")).to_contain_text("succeeded")
    expect(page.get_by_role("link", name="from the form")).to_be_visible()
    expect(page.locator("a.tag")).to_have_text(["one", "two"])
    sentences = page.request.get(f"/v1/jobs/{page.url.rpartition('/')[2]}/verdict").json()["sentences"]
    assert "2 layers" in sentences[0]
    expect(page.locator("#verdict + ul li")).to_have_text(sentences)
    figures = page.locator("figure.plot")
    figures.first.scroll_into_view_if_needed()
    expect(figures.first).to_have_attribute("data-state", "drawn")
    expect(figures.first.locator("svg [aria-roledescription='line mark']").first).to_be_attached()
    with page.expect_download() as download:
        page.get_by_role("link", name="Report (JSON)").click()
    assert '"layer1"' in download.value.path().read_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Metrics as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "job_id,run,step,layer,layer_index,metric,value"
    assert ",from the form,3,layer0,0," in lines[1]


@pytest.mark.network_errors
def test_what_is_wrong_with_a_file_is_said(service, open_page, tmp_path) -> None:
    arrays = layers(0.1)
    arrays["features.layer1"][17, 2] = np.nan
    page = open_page(service.url(), "/new")
    form = page.locator("#upload")
    form.get_by_role("button", name="Send and measure").click()
    expect(form.get_by_role("alert").last).to_have_text("Choose a file first.")
    form.get_by_label("A safetensors or npz file").set_input_files(write_file(tmp_path / "nan.safetensors", arrays))
    form.get_by_role("button", name="Send and measure").click()
    expect(form.locator(".form-error")).to_contain_text("row 17")
    expect(form.get_by_role("button", name="Send and measure")).to_be_enabled()
    form.get_by_label("step", exact=True).fill("-1")
    form.get_by_role("button", name="Send and measure").click()
    step = form.get_by_label("step", exact=True)
    expect(step).to_have_attribute("aria-invalid", "true")
    expect(step).to_be_focused()


def test_a_file_is_dropped(service, open_page) -> None:
    page = open_page(service.url(), "/new")
    expect(page.locator("#upload-fields .field").first).to_be_visible()
    dropped = page.evaluate_handle(
        "() => { const t = new DataTransfer(); t.items.add(new File(['abc'], 'dropped.npz')); return t; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    expect(page.locator("#file-told")).to_have_text("dropped.npz, 3 B")


@pytest.mark.network_errors
def test_the_form_of_a_job_is_that_of_the_service(service, open_page) -> None:
    page = open_page(service.url(), "/new")
    described = page.request.get("/openapi.json").json()["components"]["schemas"]
    form = page.locator("#start")
    for kind, schema in (("train_dufm", "TrainDufmJob"), ("find_dufm_optimum", "FindDufmOptimumJob")):
        form.get_by_label("Kind").select_option(kind)
        for name, parameter in described[schema]["properties"].items():
            if name not in ("kind", "stop_when"):
                field = form.get_by_label(name.replace("_", " "), exact=True)
                default = parameter.get("default")
                expect(field).to_have_value("" if default in (None, []) else str(default))
    form.get_by_label("Kind").select_option("train_dufm")
    form.get_by_label("num classes", exact=True).fill("1")
    form.get_by_label("width", exact=True).fill("4, five")
    form.get_by_role("button", name="Start").click()
    for name in ("num classes", "width"):
        expect(form.get_by_label(name, exact=True)).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("num classes", exact=True)).to_be_focused()
    expect(page.locator(".field", has=page.locator("input[name=num_classes]")).locator(".field-error")).to_contain_text(
        "2"
    )


@pytest.mark.network_errors
def test_a_sweep_is_started_with_its_grid(service, client, open_page) -> None:
    page = open_page(service.url(), "/new?kind=sweep_dufm")
    form = page.locator("#start")
    expect(form.get_by_label("base: kind")).to_have_value("train_dufm")
    for name, text in (("num classes", "3"), ("depth", "2"), ("width", "4"), ("steps", "200")):
        form.get_by_label(name, exact=True).fill(text)
    form.get_by_label("grid", exact=True).fill("colour: 1")
    form.get_by_role("button", name="Start").click()
    expect(form.locator(".form-error, .field-error").filter(has_text="colour").first).to_be_visible()
    form.get_by_label("grid", exact=True).fill("weight_decay: 0.001, 0.01\nlearning_rate: 0.1")
    form.get_by_role("button", name="Start").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("#state")).to_contain_text("succeeded")
    expect(page.locator("#cells ~ .scroll tbody tr").first).to_contain_text("0.001")
    expect(page.locator("#children")).to_contain_text("2 succeeded")
    expect(page.get_by_role("region", name="Jobs of this sweep").locator("tbody tr")).to_have_count(2)
    parameters = client.job(page.url.rpartition("/")[2])["parameters"]
    assert parameters["grid"] == {"weight_decay": [0.001, 0.01], "learning_rate": [0.1]}
    assert (parameters["base"]["steps"], parameters["repeats"]) == (200, 1)
