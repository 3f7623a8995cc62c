"""Drawing asks nobody: what a specification names elsewhere is not fetched."""

import contextlib
import http.server
import threading

import pytest

import figures


@pytest.fixture
def server():
    """A web server on this machine that counts who asks."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    thread.join()
    listening.server_close()


# Not a PNG of an image elsewhere: vl-convert waits for ever instead of refusing. No figure of ours has images.
@pytest.mark.parametrize(("what", "draw"), [("data", figures.svg), ("data", figures.png), ("image", figures.svg)])
def test_nothing_is_fetched(server, what, draw):
    address, asked = server
    encoding = {"x": {"field": "x", "type": "quantitative"}}
    specification = (
        {"data": {"url": f"{address}/rows.json"}, "mark": "point", "encoding": encoding}
        if what == "data"
        else {
            "data": {"values": [{"x": 1}]},
            "mark": {"type": "image", "url": f"{address}/a.png"},
            "encoding": encoding,
        }
    )
    with contextlib.suppress(ValueError):  # some are refused, others drawn without it
        draw(specification)
    assert asked == []
