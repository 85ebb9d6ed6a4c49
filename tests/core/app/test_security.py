"""Attacks on a studio: nothing is read, nothing is changed, nothing is kept waiting."""

import asyncio
import json
import re
from urllib.parse import quote, unquote

import pytest
from sonolux.core.app import events, security
from sonolux.core.app.events import EventLog
from sonolux.core.app.limits import StudioLimits
from sonolux.core.app.security import RequestGuard
from sonolux.core.app.server import create_server
from sonolux.core.app.studio import Studio
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_constant

PAGES = ("/", "/api/state", "/api/jobs", "/openapi.json", "/static/index.html")


async def ask(server, method="GET", path="/api/state", headers=None, body=(), query=b""):
    """(status, headers, text, number of read parts) of a request to an ASGI server, with parts of a body."""
    sent, parts, read = [], list(body), 0
    named = {"host": "127.0.0.1:8765", **(headers or {})}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "method": method,
        "path": unquote(path),
        "raw_path": quote(path).encode(),
        "query_string": query,
        "scheme": "http",
        "root_path": "",
        "server": ("127.0.0.1", 8765),
        "client": ("127.0.0.1", 5),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in named.items()],
    }

    async def receive():
        nonlocal read
        read += 1
        more = parts[read - 1] if read <= len(parts) else b""
        return {"type": "http.request", "body": more, "more_body": read < len(parts)}

    async def send(message):
        sent.append(message)

    await server(scope, receive, send)
    found = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]).decode(), read


def guarded(token=None, hosts=security.LOCAL_HOSTS, **limits):
    """A guard around a server that reads whole bodies and answers with their length."""

    async def inner(scope, receive, send):
        length, more = 0, True
        while more:
            part = await receive()
            length, more = length + len(part["body"]), part["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(length).encode()})

    return RequestGuard(inner, hosts, StudioLimits(**limits), token, uploads=("/api/uploads",))


def status(server, **request):
    return asyncio.run(ask(server, **request))[0]


FOREIGN_HOSTS = [
    "evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example:8765", "", "127.0.0.2:8765",
    "[::2]:8765", "127.0.0.1:8765@evil.example", "evil.example:80:8765", "0.0.0.0:8765",
]  # fmt: skip


def check_hosts():
    server = guarded()
    for host in ("127.0.0.1:8765", "localhost:8765", "LOCALHOST", "[::1]:8765", "127.0.0.1"):
        assert status(server, headers={"host": host}) == 200, host
    for host in FOREIGN_HOSTS:
        for path in PAGES:
            assert status(server, path=path, headers={"host": host}) == 403, (host, path)


def test_foreign_hosts_are_refused_everywhere():
    check_hosts()


def test_any_host_needs_a_token():
    server = guarded(token="secret", hosts=None)
    for host in ("192.168.1.7:8765", "machine.lan"):
        assert status(server, headers={"host": host}) == 403
        assert status(server, headers={"host": host, "authorization": "Bearer secret"}) == 200
    with pytest.raises(ValueError, match="only with a token"):
        guarded(hosts=None)


def test_planted_error_in_the_check_of_hosts_is_caught():
    with planted_error(security, "_name_of_host", lambda host: host.partition(".evil")[0].partition(":")[0]):
        assert_caught(check_hosts)


def check_origins():
    server = guarded()
    for origin in ("http://127.0.0.1:8765", "https://127.0.0.1:8765"):
        assert status(server, headers={"origin": origin}) == 200
    for origin in (
        "http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1", "http://localhost:8765", "file://",
        "http://127.0.0.1:8765.evil.example", "http://127.0.0.1:8765/x", "http://[", "",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            found = status(server, method=method, headers={"origin": origin, "x-sonolux": "1"})
            assert found == 403, origin
    assert status(server, headers={"sec-fetch-site": "cross-site"}) == 403
    assert status(server, path="/", headers={"sec-fetch-site": "cross-site"}) == 200, "a link to the page"


def test_foreign_origins_are_refused():
    check_origins()


def check_changes_need_the_header():
    server = guarded()
    for method in ("POST", "PATCH", "DELETE", "PUT", "OPTIONS"):
        assert status(server, method=method) == 403
        assert status(server, method=method, headers={"x-sonolux": "0"}) == 403
        assert status(server, method=method, headers={"x-sonolux": "1"}) == 200


def test_changes_need_the_header():
    check_changes_need_the_header()


def test_planted_errors_in_the_checks_of_requests_are_caught():
    with planted_error(RequestGuard, "_refusal", swap_constant("1", "0")):
        assert_caught(check_changes_need_the_header)
    with planted_error(security, "_is_origin", lambda origin, host: host in origin):
        assert_caught(check_origins)


def test_a_token_is_needed_where_there_is_one():
    server = guarded(token="secret", hosts=("studio.lan",))
    host = {"host": "studio.lan:8765"}
    for path in PAGES:
        for shown in (
            {},
            {"cookie": "sonolux_token=wrong"},
            {"authorization": "Bearer "},
            {"cookie": "sonolux_token="},
        ):
            assert status(server, path=path, headers={**host, **shown}) == 403
    assert status(server, headers={**host, "authorization": "Bearer secret"}) == 200
    code, headers, _, _ = asyncio.run(ask(server, path="/", query=b"token=secret", headers=host))
    assert code == 303 and headers["location"] == "/" and "HttpOnly; SameSite=Strict" in headers["set-cookie"]
    cookie = headers["set-cookie"].split(";")[0]
    assert status(server, headers={**host, "cookie": f"a=b; {cookie}"}) == 200
    assert status(server, path="/", query=b"token=wrong", headers=host) == 403
    assert status(server, path="/api/state", query=b"token=secret", headers=host) == 403, "not in other addresses"
    assert status(server, path="/", query=b"token=secret", headers={"host": "evil.example"}) == 403


def test_a_large_body_is_refused_before_it_is_read():
    server, post = guarded(), {"method": "POST", "path": "/api/uploads"}
    sized = {"x-sonolux": "1", "content-length": str(10**9)}
    code, headers, text, read = asyncio.run(ask(server, headers=sized, body=[b"x" * 1000] * 10, **post))
    assert (code, read) == (413, 0) and headers["connection"] == "close" and "64 MB" in json.loads(text)["error"]
    part = b"x" * 1_000_000
    code, _, _, read = asyncio.run(ask(server, headers={"x-sonolux": "1"}, body=[part] * 1000, **post))
    assert (code, read) == (413, 65), "of a body without a length, no more is read than its limit"
    for length in ("-1", "1e3", "9" * 30, " 5"):
        assert status(server, headers={"x-sonolux": "1", "content-length": length}, **post) == 413
    elsewhere = {"method": "POST", "path": "/api/jobs", "headers": {"x-sonolux": "1"}, "body": [part] * 3}
    assert status(server, **elsewhere) == 413, "only uploads may be large"
    assert status(server, headers={"x-sonolux": "1"}, body=[part] * 60, **post) == 200


def test_a_large_upload_leaves_nothing(connect, open_studio, picture_run):
    with connect(open_studio(picture_run, upload_bytes=100_000)) as client:
        answer = client.upload("big.png", b"x" * 200_000)
        assert answer.status_code == 413 and "larger than 0.1 MB" in answer.json()["error"]
        assert client.get("/api/items").json() == []


def test_every_answer_has_the_headers_that_protect_the_page(client):
    for path in (*PAGES, "/api/jobs/zz", "/no/such/page"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == security.POLICY, path
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")
        assert "access-control-allow-origin" not in headers
    assert "unsafe" not in security.POLICY and "http" not in security.POLICY


TRAVERSALS = [
    "..", "../..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..\\..\\x", "%00",
    "/etc/passwd", "//etc/passwd", "....//....//etc/passwd", "%252e%252e%252fetc", "a" * 3000, "*", "'", "job.json",
    "~root", "C:\\x", "\u202e", "con", "0" * 16, "-1", "1e9", "NaN",
]  # fmt: skip


def parameters(server):
    """Every path of the API with one attack in one of its parameters."""
    paths = server.app.openapi()["paths"]
    for path, methods in paths.items():
        for name in re.findall(r"{(\w+)}", path):
            for attack in TRAVERSALS:
                filled = path.replace(f"{{{name}}}", attack)
                for method in methods:
                    yield method.upper(), re.sub(r"{\w+}", "0", filled)


@pytest.mark.slow
def test_no_parameter_of_a_path_reads_or_changes_files(picture_run, tmp_path):
    server = create_server(Studio.open(tmp_path / "studio", [picture_run], device="cpu"))
    (tmp_path / "secret.png").write_bytes(b"secret")
    files = [path for path in (*picture_run.rglob("*"), *tmp_path.rglob("*")) if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    asked = [*parameters(server), *(("GET", f"/static/{attack}") for attack in TRAVERSALS)]
    asked += [("GET", f"/static/{one}server.py") for one in ("../", "..%2f", "%2e%2e/", "js/../../", "//")]
    assert len(asked) > 400
    headers = {"x-sonolux": "1", "content-type": "application/json"}

    async def attack_all():
        for method, path in asked:
            body = [b'{"caption": "x", "name": "x"}']
            code, _, text, _ = await ask(server, method, path, headers, body)
            assert code in (400, 404, 405, 414), (method, path, code)
            assert "root:" not in text and "secret" not in text and str(tmp_path) not in text
        for query in ("items", "kept", "find", "page", "per_page", "after", "count", "only"):
            for path in ("/api/pack", "/api/items", "/api/jobs", "/api/data/x", "/api/runs/run/metrics"):
                for attack in TRAVERSALS:
                    code, _, text, _ = await ask(server, path=path, query=f"{query}={quote(attack)}".encode())
                    assert code in (200, 400, 404), (path, query, attack)
                    assert "root:" not in text and "secret" not in text

    asyncio.run(attack_all())
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.slow
def test_no_value_of_a_request_is_a_path(client, tmp_path):
    """Every text of a request is a path here; the studio refuses it, or takes it as a text."""
    target = tmp_path / "target"
    target.write_text("secret")
    source = client.sampled(count=1)["items"][0]["id"]
    base = {"kind": "edit", "model": "run", "edit": "vary", "inputs": [source], "steps": 1, "count": 1}
    texts = {
        name: str(target)
        for name in ("model", "checkpoint", "prompt", "negative", "use", "timesteps", "source", "mask", "operator")
    }
    texts |= {"guidance.weak": str(target), "conditions.label": str(target), "label": str(target)}
    texts |= {"timesteps.file": str(target), "guidance": [{"use": "autoguidance", "weak": str(target)}]}
    for name, value in texts.items():
        answer = client.post("/api/jobs", json={**base, name: value})
        assert answer.status_code in (202, 400, 403, 404), (name, answer.text)
        assert "secret" not in answer.text
        if answer.status_code == 202:
            assert client.ended(answer.json()["id"])["state"] == "failed", name
    assert target.read_text() == "secret"


def test_a_host_header_that_occurs_twice_is_refused():
    async def ask_twice():
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/api/state", "raw_path": b"/api/state", "query_string": b""}
        scope["headers"] = [(b"host", b"127.0.0.1:8765"), (b"host", b"evil.example")]
        await guarded()(scope, None, send)
        return sent[0]["status"]

    assert asyncio.run(ask_twice()) == 403


def test_websockets_are_closed():
    async def connect_socket():
        sent = []

        async def send(message):
            sent.append(message)

        await guarded()({"type": "websocket", "path": "/"}, None, send)
        return sent

    assert asyncio.run(connect_socket()) == [{"type": "websocket.close", "code": 1008}]


# --- streams that stay open ---


def test_a_stream_ends_after_its_time_and_sends_a_heartbeat(monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT", 0.02)

    async def read():
        return [part async for part in EventLog().follow(0, 0.1)]

    parts = asyncio.run(read())
    assert parts[0] == b"retry: 2000\n\n" and 2 <= parts.count(b": alive\n\n") <= 6


def test_the_number_of_streams_is_bounded_and_those_that_end_are_free(connect, open_studio, picture_run, monkeypatch):
    studio = open_studio(picture_run, streams=2, stream_seconds=60.0)
    monkeypatch.setattr(studio.queue, "start", lambda: None)
    server = create_server(studio)

    async def fill():
        with connect(studio) as client:
            job = client.job(kind="sample", model="run", count=1)
        path = f"/api/jobs/{job['id']}/events"
        left = [asyncio.create_task(_hold(server, path)) for _ in range(2)]
        await asyncio.sleep(0.2)
        full = (await ask(server, path=path))[0]
        left[0].cancel()
        await asyncio.gather(left[0], return_exceptions=True)
        assert studio.streams.open == 1
        studio.queue.cancel(job["id"])
        await asyncio.wait_for(left[1], 5)
        assert studio.streams.open == 0
        return full

    assert asyncio.run(fill()) == 429


async def _hold(server, path):
    """Follow a stream until it ends; the client sends nothing."""

    async def receive():
        await asyncio.sleep(3600)

    async def send(_):
        pass

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {
        "headers": [(b"host", b"127.0.0.1")],
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "asgi": {},
    }
    await server(scope, receive, send)


def test_a_log_keeps_a_bounded_number_of_events():
    log = EventLog()
    for n in range(5000):
        log.publish("item", {"n": n})
        log.publish("progress", {"n": n})
    kept, _ = log.after(0)
    assert len(kept) == events.KEPT and [name for _, name, _ in kept].count("progress") == 1
