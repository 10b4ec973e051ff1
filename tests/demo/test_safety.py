"""Who may talk to the server, and how much of it at once."""

from __future__ import annotations

import asyncio
import base64
import threading

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from zoo_demo.safety import MAX_BODY_BYTES, Credentials, Gate, Hosts, RefusedError, Slots, is_loopback, is_public_name

ORIGIN = "http://127.0.0.1:7860"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.path} {len(await request.body())}")


def behind_gate(
    listening: str = "127.0.0.1", credentials: Credentials | None = None, public: tuple[str, ...] = ()
) -> TestClient:
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    return TestClient(Gate(app, Hosts(listening, public), credentials), base_url=ORIGIN)


@pytest.fixture(scope="module")
def client():
    return behind_gate()


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "127.0.0.1"])
def test_the_server_answers_under_its_own_names(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost@evil.example", "192.168.0.7:7860",
     "[::2]:7860", "", "localhost:7860:7860", "[127.0.0.1", "localhost."],
)  # fmt: skip
def test_a_name_that_was_made_to_mean_this_machine_is_refused(client, host):
    response = client.get("/", headers={"host": host})
    assert (response.status_code, list(response.json())) == (403, ["error"])


def test_a_server_that_listens_on_all_addresses_takes_any_address_but_no_foreign_name():
    client = behind_gate("0.0.0.0")
    assert client.get("/", headers={"host": "192.168.0.7:7860"}).status_code == 200
    assert client.get("/", headers={"host": "[fe80::1]:7860"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/zoo/models", "/gradio_api/queue/join"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost:7860"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ],
    ids=str,
)
def test_another_sites_page_may_not_use_the_server(client, method, path, headers):
    assert client.request(method, path, headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [{"origin": ORIGIN}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}])
def test_our_own_page_may_use_the_server(client, headers):
    assert client.post("/zoo/models", headers=headers).status_code == 200


def test_another_site_may_link_to_the_page_and_to_nothing_else(client):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/zoo/models", headers=headers).status_code == 403
    assert client.post("/", headers=headers).status_code == 403


PUBLIC = ("Zoo.example.org", "zoo.example.net:8443")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("zoo.example.org", "https://zoo.example.org"),
        ("zoo.example.org", "http://zoo.example.org"),
        ("ZOO.example.org", "https://zoo.example.org"),
        ("zoo.example.net:8443", "https://zoo.example.net:8443"),
        ("127.0.0.1:7860", "https://zoo.example.org"),  # the proxy puts its own in the name's place
        ("localhost:7860", "https://zoo.example.net:8443"),
        ("127.0.0.1:7860", ORIGIN),
        ("zoo.example.org", None),
    ],
)
def test_behind_a_proxy_the_page_is_used_under_its_public_name(host, origin):
    headers = {"host": host} | ({"origin": origin, "sec-fetch-site": "same-origin"} if origin else {})
    assert behind_gate(public=PUBLIC).post("/zoo/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "example.org"},
        {"host": "www.zoo.example.org"},
        {"host": "zoo.example.org.evil.example"},
        {"host": "evil.example", "origin": "https://zoo.example.org"},
        {"host": "evil.example", "x-forwarded-host": "zoo.example.org"},
        {"host": "zoo.example.org", "origin": "https://evil.example"},
        {"host": "zoo.example.org", "origin": "https://zoo.example.org:8000"},
        {"host": "zoo.example.org", "origin": "ftp://zoo.example.org"},
        {"host": "zoo.example.org", "origin": "null"},
        {"host": "127.0.0.1:7860", "origin": "https://zoo.example.net"},
        {"host": "127.0.0.1:7860", "origin": "https://zoo.example.org", "sec-fetch-site": "cross-site"},
        {"host": "zoo.example.org", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_a_public_name_lets_no_other_name_or_site_in(headers):
    response = behind_gate(public=PUBLIC).post("/zoo/models", headers=headers)
    assert (response.status_code, list(response.json())) == (403, ["error"])


def test_a_public_name_needs_the_password_too():
    client = behind_gate(credentials=Credentials("me", "correct horse"), public=PUBLIC)
    assert client.get("/", headers={"host": "zoo.example.org"}).status_code == 401
    assert client.get("/", headers={"host": "zoo.example.org"} | basic("me", "correct horse")).status_code == 200


@pytest.mark.parametrize("name", ["zoo.example.org", "ZOO", "a.b-c.d1", "192.0.2.7", "zoo:1", "zoo.example.org:65535"])
def test_a_host_name_may_be_public(name):
    assert is_public_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "*", "*.example.org", "https://zoo.example.org", "zoo.example.org/", "zoo.example.org.", "zoo..org", "-a",
     "a-", "a b", "a_b", "me@zoo", "zoo:", "zoo:0", "zoo:65536", "zoo:80:80", "zoo:²", ":80", "[::1]", "zoo\n",
     "예시.org", "a" * 64, ".".join(["a" * 60] * 5)],
)  # fmt: skip
def test_what_is_no_host_name_may_not_be_public(name):
    assert not is_public_name(name)


def test_websockets_are_refused(client):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/proxy=http://evil.example",
     "/gradio_api/upload", "/gradio_api/stream/x", "/gradio_api/component_server", "/gradio_api/dev/reload",
     "/gradio_api/vibe-edit", "/gradio_api/deep_link", "/gradio_api/run/encode", "/gradio_api/process_recording",
     "/monitoring", "/login", "/docs", "/openapi.json", "/gradio_api/openapi.json", "/custom_component"],
)  # fmt: skip
def test_what_gradio_offers_beyond_the_page_is_shut(client, path):
    assert client.get(path).status_code == client.post(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/config/", "/theme.css", "/assets/index.js", "/static/fonts/a.woff2", "/gradio_api/info",
     "/gradio_api/heartbeat/a1b2", "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/call/encode",
     "/gradio_api/call/encode/a1b2", "/zoo/models"],
)  # fmt: skip
def test_what_the_page_and_the_client_need_is_open(client, path):
    assert client.get(path).status_code == 200


def test_a_body_up_to_the_limit_passes(client):
    response = client.post("/zoo/x", content=bytes(MAX_BODY_BYTES))
    assert response.text == f"/zoo/x {MAX_BODY_BYTES}"


def test_a_body_over_the_limit_is_refused_by_its_announced_length(client):
    response = client.post("/zoo/x", content=b"", headers={"content-length": str(MAX_BODY_BYTES + 1)})
    assert response.status_code == 413
    assert "20 MiB" in response.json()["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "²", "0x10", ""])
def test_a_length_that_is_no_number_is_refused(client, length):
    response = client.post("/zoo/x", content=b"", headers={"content-length": length.encode()})
    assert response.status_code == 413


def test_a_body_over_the_limit_is_refused_without_an_announced_length(client):
    def endless():
        for _ in range(100):
            yield bytes(2**20)

    response = client.post("/zoo/x", content=endless())
    assert response.status_code == 413


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_the_right_user_and_password_open_everything():
    client = behind_gate("127.0.0.1", Credentials("지민", "비밀번호비밀번호"))
    for path in ("/", "/zoo/models", "/gradio_api/info"):
        assert client.get(path, headers=basic("지민", "비밀번호비밀번호")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, basic("me", "wrong"), basic("you", "correct horse"), basic("me", ""), {"authorization": "Basic"},
     {"authorization": "Basic %%%"}, {"authorization": "Bearer bWU6Y29ycmVjdCBob3JzZQ=="},
     {"authorization": "Basic \xe9".encode("latin-1")}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/zoo/models", "/gradio_api/info", "/gradio_api/upload", "/nothing"])
def test_anyone_else_meets_a_shut_door_everywhere(path, headers):
    client = behind_gate("127.0.0.1", Credentials("me", "correct horse"))
    response = client.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}], ids=["an answer", "a refusal"])
def test_every_answer_has_the_security_headers(client, headers):
    answered = client.get("/", headers=headers).headers
    policy = answered["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert answered["x-content-type-options"] == "nosniff"
    assert answered["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(("host", "isolated"), [("127.0.0.1:7860", True), ("localhost", True), ("192.168.0.7", False)])
def test_the_page_is_isolated_where_browsers_trust_its_address(host, isolated):
    answered = behind_gate("0.0.0.0").get("/", headers={"host": host}).headers
    assert ("cross-origin-opener-policy" in answered) is isolated  # elsewhere it is an error on their console


def test_no_more_work_at_once_than_there_are_slots():
    most, now, lock = 0, 0, threading.Lock()

    def work(number):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.01)
        with lock:
            now -= 1
        return number

    async def main():
        slots = Slots(working=3, waiting=100)
        return await asyncio.gather(*[slots.run(work, number) for number in range(30)])

    assert asyncio.run(main()) == list(range(30))
    assert most <= 3


def test_who_comes_when_too_many_wait_is_sent_away_and_may_come_again():
    async def main():
        slots, release = Slots(working=1, waiting=2), threading.Event()
        working = asyncio.create_task(slots.run(release.wait))
        waiting = [asyncio.create_task(slots.run(int)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refusal:
            await slots.run(int)
        release.set()
        await asyncio.gather(working, *waiting)
        assert await slots.run(int) == 0
        return refusal.value

    refusal = asyncio.run(main())
    assert refusal.status_code == 503
    assert int(refusal.headers["retry-after"]) >= 1


def test_a_slot_is_free_again_after_work_that_failed():
    async def main():
        slots = Slots(working=1, waiting=1)
        for _ in range(3):
            with pytest.raises(ValueError, match="invalid literal"):
                await slots.run(int, "x")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.7", False), ("mine.example", False), ("", False)],
)  # fmt: skip
def test_which_addresses_others_can_reach(host, alone):
    assert is_loopback(host) is alone
