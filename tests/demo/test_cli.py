"""`zoo demo` on the command line: what it refuses, and what it leaves behind."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import httpx
import pytest

from demo.serving import ZOO, start_demo

WITHOUT_GRADIO = "import sys; sys.modules['gradio'] = None; from zoo.cli import main; main(['demo'])"
IMPORTED = """
import sys
from zoo.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(sorted({"torch", "gradio", "fastapi", "uvicorn"} & set(sys.modules)))
"""


def assert_refused(result, status: int, line: str) -> None:
    assert (result.status, result.stdout) == (status, ""), result.stderr
    assert result.stderr == f"zoo: {line}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["list"]], ids=" ".join)
def test_help_imports_neither_torch_nor_gradio(zoo_environment, arguments):
    command = [sys.executable, "-c", IMPORTED, *arguments]
    result = subprocess.run(command, env=zoo_environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_another_distribution_cannot_bring_a_command(run_zoo, tmp_path):
    metadata = tmp_path / "site" / "zoo_other-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-other\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[zoo.commands]\ntrain = other:train\nother = other:other\n")
    result = run_zoo("--help", environment={"PYTHONPATH": str(tmp_path / "site")})
    assert (result.status, result.stderr) == (0, "")
    assert "other" not in result.stdout


def test_without_gradio_the_error_says_what_to_install(zoo_environment):
    command = [sys.executable, "-c", WITHOUT_GRADIO]
    result = subprocess.run(command, env=zoo_environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "zoo: zoo demo needs Gradio: pip install 'autoencoder-zoo[demo]'\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "mine.example"])
def test_an_address_that_others_can_reach_needs_a_password(run_zoo, host):
    assert_refused(run_zoo("demo", "--host", host), 2, f"Others can reach {host}: add --auth USER.")


def test_a_public_name_needs_a_password(run_zoo):
    result = run_zoo("demo", "--public-name", "zoo.example.org")
    assert_refused(result, 2, "Others can reach zoo.example.org: add --auth USER.")


@pytest.mark.parametrize("name", ["https://zoo.example.org", "*", ""])
def test_a_public_name_that_is_none_is_refused(run_zoo, name):
    line = "--public-name takes a host name, perhaps with a port, such as zoo.example.org or zoo.example.org:8443"
    assert_refused(run_zoo("demo", "--auth", "me", "--public-name", name), 2, f"{line}, got '{name}'.")


@pytest.mark.parametrize("host", ["zoo.example.org", None], ids=["name passed on", "name replaced"])
def test_the_page_works_behind_a_proxy(zoo_environment, runs, tmp_path, host):
    arguments = ["--auth", "me", "--public-name", "zoo.example.org", runs / "tiny"]
    with start_demo(zoo_environment, tmp_path, *arguments, ZOO_DEMO_PASSWORD="correct horse") as (_, url):
        browser = {"origin": "https://zoo.example.org", "sec-fetch-site": "same-origin"}
        proxy = {"x-forwarded-proto": "https", "x-forwarded-host": "zoo.example.org"} | ({"host": host} if host else {})
        with httpx.Client(base_url=url, auth=("me", "correct horse"), headers=browser | proxy, timeout=60) as client:
            assert client.get("/config").json()["root"] == "https://zoo.example.org"
            assert client.get("/zoo/models").json()["models"][0]["id"] == "tiny"
            answer = client.post("/gradio_api/call/decode", json={"data": ["tiny", [[0.0, 0.0, 0.0]], None]})
            assert client.get(f"/gradio_api/call/decode/{answer.json()['event_id']}").text.startswith("event: complete")
            assert client.get("/zoo/models", headers={"origin": "https://evil.example"}).status_code == 403


def test_a_short_password_is_refused(run_zoo):
    result = run_zoo("demo", "--auth", "me", environment={"ZOO_DEMO_PASSWORD": "short"})
    assert_refused(result, 2, "The password is too short: 8 characters or more.")


def test_a_password_that_nobody_can_type_is_asked_of_the_environment(zoo_environment):
    command = [ZOO, "demo", "--auth", "me"]
    result = subprocess.run(command, env=zoo_environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    line = "--auth needs a password: there is no terminal to type it at, so set ZOO_DEMO_PASSWORD."
    assert (result.returncode, result.stderr) == (2, f"zoo: {line}\n")


@pytest.mark.parametrize("user", ["", "me:too"])
def test_a_user_that_no_browser_could_send_is_refused(run_zoo, user):
    assert_refused(run_zoo("demo", "--auth", user), 2, f"--auth takes a user's name without ':', got '{user}'.")


def test_a_taken_port_that_was_asked_for_is_refused(run_zoo):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Choose another --port."
        assert_refused(run_zoo("demo", "--port", port), 2, line)


def test_a_taken_port_that_was_not_asked_for_is_passed_over():
    from zoo_demo.cli import FIRST_PORT, listen

    with listen("127.0.0.1", None) as first, listen("127.0.0.1", None) as second:
        assert FIRST_PORT <= first.getsockname()[1] < second.getsockname()[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_the_address_that_is_printed_is_one_that_works(host):
    from zoo_demo.cli import listen, url_of

    with listen(host, 0) as listener:
        address = urlsplit(url_of(host, listener))
        ipaddress.ip_address(address.hostname)  # other machines may not know this one's name
        socket.create_connection((address.hostname, address.port)).close()


def test_an_address_of_another_machine_is_refused(run_zoo):
    result = run_zoo("demo", "--host", "192.0.2.1", "--auth", "me", environment={"ZOO_DEMO_PASSWORD": "correct horse"})
    assert result.status == 2
    assert result.stderr.endswith(" --host takes an address of this machine.\n")


def test_a_broken_run_that_was_asked_for_ends_the_program_with_its_line(run_zoo, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"text")
    result = run_zoo("demo", "model.safetensors", "--port", 0)
    line = "model.safetensors is not a checkpoint of Autoencoder Zoo: it is no safetensors file, or was cut short."
    assert_refused(result, 1, line)


def test_an_unknown_name_ends_the_program_with_a_suggestion(run_zoo):
    result = run_zoo("demo", "mnist-mlq")
    assert (result.status, result.stdout) == (2, "")
    assert "Did you mean 'mnist-mlp'?" in result.stderr


def test_other_settings_of_gradio_open_no_door_and_ctrl_c_leaves_nothing_behind(zoo_environment, runs, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    others = {
        "GRADIO_SHARE": "1",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_ALLOWED_PATHS": str(tmp_path),
        "GRADIO_ROOT_PATH": "/elsewhere",
        "GRADIO_ANALYTICS_ENABLED": "True",
        "GRADIO_MCP_SERVER": "True",
        "ZOO_DEMO_PASSWORD": "correct horse",
    }
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with start_demo(zoo_environment, temporary, runs, "--auth", "me", **others) as (process, url):
        for path in ("", "zoo/models", "config", "gradio_api/info", "gradio_api/call/encode"):
            assert httpx.get(f"{url}/{path}").status_code == 401
        with httpx.Client(base_url=url, auth=("me", "correct horse"), timeout=60) as client:
            assert [card["id"] for card in client.get("/zoo/models").json()["models"]][:2] == ["colour", "conditional"]
            assert "/elsewhere" not in client.get("/").text
            assert client.get(f"/gradio_api/file={tmp_path}/secret.txt").status_code == 404
        assert os.listdir(temporary)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.strip()) == (128 + signal.SIGINT, "", "zoo: Stopped.")
    assert os.listdir(temporary) == []


@pytest.mark.parametrize(
    "names", [["ALL_PROXY"], ["all_proxy", "All_Proxy", "HTTP_PROXY", "https_proxy"]], ids=" ".join
)
def test_a_proxy_is_for_other_hosts_than_the_page_asks(zoo_environment, runs, tmp_path, names):
    proxies = dict.fromkeys(names, "socks5://127.0.0.1:9") | {"NO_PROXY": "example.org"}
    with start_demo(zoo_environment, tmp_path, runs / "tiny", **proxies) as (process, url):
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            assert client.get("/").status_code == 200
            assert client.get("/zoo/models").json()["models"][0]["id"] == "tiny"
            answer = client.post("/gradio_api/call/decode", json={"data": ["tiny", [[0.0, 0.0, 0.0]], None]})
            events = client.get(f"/gradio_api/call/decode/{answer.json()['event_id']}")
            assert events.text.startswith("event: complete")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (output, errors.strip()) == ("", "zoo: Stopped.")


FEW_FILES = "ulimit -n 256"
IDLE = {"soft limit": ("ulimit -S -n 256", b""), "hard limit, half a request": (FEW_FILES, b"GET / HTTP/1.1\r\nHost:")}


@pytest.mark.parametrize(("limit", "sent"), IDLE.values(), ids=IDLE)
def test_idle_connections_keep_nobody_out(zoo_environment, runs, tmp_path, limit, sent):
    with start_demo(zoo_environment, tmp_path, runs / "tiny", shell=limit) as (process, url):
        address = urlsplit(url)
        with contextlib.ExitStack() as idle:
            for _ in range(700):
                connection = socket.create_connection((address.hostname, address.port), timeout=60)
                idle.enter_context(contextlib.closing(connection)).sendall(sent)
            for _ in range(3):
                with httpx.Client(base_url=url, timeout=60) as client:
                    assert client.get("/").status_code == 200
                    assert client.get("/zoo/models").json()["models"][0]["id"] == "tiny"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (output, errors.strip()) == ("", "zoo: Stopped.")


def test_a_request_that_is_being_answered_is_not_idle(zoo_environment, runs, tmp_path):
    with start_demo(zoo_environment, tmp_path, runs / "tiny", shell=FEW_FILES) as (_, url):
        address = urlsplit(url)
        with httpx.Client(base_url=url, timeout=60) as client, client.stream("GET", "/gradio_api/heartbeat/a1") as beat:
            with contextlib.ExitStack() as idle:
                for _ in range(400):
                    connection = socket.create_connection((address.hostname, address.port), timeout=60)
                    idle.enter_context(contextlib.closing(connection))
                assert client.get("/").status_code == 200
            beats = beat.iter_text()
            assert next(beats)
            assert next(beats)  # sent after the others came
