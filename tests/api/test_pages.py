"""The pages as the server gives them: shells that escape, headers that forbid, files that may be kept for ever."""

import gzip
import re
import threading
from importlib import resources
from urllib.parse import quote

import httpx
import pytest
from schema import migrated_sqlite

PATHS = ("/", "/runs/a%2Fb", "/jobs/job_x", "/catalogue", "/optima", "/optima/10/4?decay=0.004", "/new", "/docs")


@pytest.fixture
def migrated_url(tmp_path):
    path = tmp_path / "pages.db"  # no page reads it
    path.write_bytes(migrated_sqlite())
    return f"sqlite:///{path}"


@pytest.mark.parametrize("path", PATHS)
def test_a_page_allows_nothing_from_elsewhere_and_nothing_inline(client, path) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'",) * 3
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert re.findall(r"<script(?![^>]* src=)|\son\w+=|style=", answer.text) == []
    assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text) == []


@pytest.mark.parametrize("path", PATHS)
def test_every_file_of_a_page_is_there_and_kept_for_ever(client, path) -> None:
    html = client.get(path).text
    files = set(re.findall(r'(?:src|href)="(/pages/[^"]+)"', html))
    assert len(files) >= 5
    for file in files:
        answer = client.get(file)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        for imported in re.findall(r'from "\./([^"]+)"', answer.text):
            assert client.get(f"{file.rpartition('/')[0]}/{imported}").status_code == 200


def test_no_file_of_ours_names_another_host() -> None:
    for file in (resources.files("api") / "pages").iterdir():
        found = set(re.findall(r"https?://[^\s\"'<>)`]+", file.read_text()))
        assert found <= {"http://www.w3.org/2000/svg"}, file.name


def test_names_in_addresses_are_escaped(client) -> None:
    name = """<script>alert(1)</script>"'&"""
    html = client.get(f"/runs/{quote(name, safe='')}").text
    assert "<script>alert" not in html
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp; · Collapse analysis</title>" in html
    assert f'<a href="/v1/runs/{quote(name, safe="")}">' in html


def test_without_javascript_a_page_leads_to_its_json(client) -> None:
    for path, json in (("/", "/v1/jobs"), ("/jobs/job_x", "/v1/jobs/job_x"), ("/runs/a%2Fb", "/v1/runs/a%2Fb")):
        (told,) = re.findall(r"<noscript>(.*?)</noscript>", client.get(path).text, flags=re.DOTALL)
        assert "needs JavaScript" in told
        assert f'<a href="{json}">' in told


@pytest.mark.parametrize(
    "path", ["/pages/0/nothing.js", "/pages/0/shell.html", "/pages/0/..%2Fapp.py", "/pages/vega-1.js"]
)
def test_what_is_no_file_of_the_pages_is_not_found(client, path) -> None:
    assert client.get(path).status_code == 404


def test_a_file_of_another_version_is_not_to_be_kept(client) -> None:
    assert client.get("/pages/0123456789abcdef/pages.css").headers["cache-control"] == "no-cache"


def test_the_pages_are_no_part_of_the_interface_and_need_no_key(make_client) -> None:
    client = make_client(api_key="a key")
    assert not [
        path for path in client.get("/openapi.json").json()["paths"] if path.startswith(("/pages", "/new", "/docs"))
    ]
    assert client.get("/docs").status_code == client.get("/pages/0/service.js").status_code == 200
    assert client.get("/v1/jobs").status_code == 401


def test_the_script_for_figures_is_made_once_while_others_are_answered(client, tmp_path) -> None:
    (path,) = re.findall(r'data-vega="([^"]+)"', client.get("/").text)
    got: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: got.append(httpx.get(f"{client.base_url}{path}", timeout=120)))
    asking.start()
    assert client.get("/healthz").status_code == 200
    assert got == []  # it takes seconds, and nobody waited for them
    asking.join()
    script = got[0].text
    assert got[0].headers["content-encoding"] == "gzip"
    assert "vegaEmbed" in script
    assert client.get(path, headers={"Accept-Encoding": "identity"}).text == script
    assert [file.name for file in (tmp_path / "data" / "pages").iterdir()] == [f"{path.rpartition('/')[2]}.gz"]


def test_the_script_is_found_again_after_a_restart(make_client, tmp_path) -> None:
    (path,) = re.findall(r'data-vega="([^"]+)"', make_client().get("/").text)
    folder = tmp_path / "data" / "pages"
    folder.mkdir(parents=True)

    (folder / f"{path.rpartition('/')[2]}.gz").write_bytes(gzip.compress(b"kept"))
    assert make_client().get(path).text == "kept"
