import subprocess
import sys
import time
import urllib.request

import pytest
from typer.testing import CliRunner

from synergy.cli import app
from synergy.errors import UserError

pytest.importorskip("fastapi", reason="needs fastapi; install the extra 'app' (docs/install.md)")

from synergy.app.security import is_local_host
from synergy.app.serve import address_of, open_port


def test_a_port_that_is_taken_is_one_line():
    with open_port("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        result = CliRunner().invoke(app, ["app", "--port", str(port)])
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == f"port {port} is in use by another program, choose another one with --port"


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-name.invalid"])
def test_an_address_of_another_machine_is_one_line(host):
    with pytest.raises(UserError, match=f"--host {host}: cannot be opened"):
        open_port(host, 0)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "av"])
def test_a_missing_package_is_one_line(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    result = CliRunner().invoke(app, ["app", "--port", "0"])
    assert str(result.exception) == f"synergy app needs {package}; install the extra 'app' (docs/install.md)"


def test_the_threads_are_those_of_the_detector_and_of_the_network(monkeypatch):
    made = []
    monkeypatch.setattr("synergy.app.server.create_app", lambda predictor, *_: made.append(predictor))
    monkeypatch.setattr("synergy.app.serve.serve", lambda _, listener, __: listener.close())
    result = CliRunner().invoke(app, ["app", "--port", "0", "--threads", "3"], catch_exceptions=False)
    assert result.exit_code == 0
    assert [(one.detector.threads, one.threads) for one in made] == [(3, 3)]


def test_which_addresses_are_local():
    hosts = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "192.168.1.2", "::")  # noqa: S104
    assert [is_local_host(host) for host in hosts] == [True, True, True, False, False, False]


@pytest.mark.slow
@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_the_command_serves_the_page_until_it_is_interrupted(host, warns):
    command = [sys.executable, "-m", "synergy", "app", "--port", "0", "--host", host]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        assert line.startswith("warning: anyone who can reach") == warns
        if warns:
            line = process.stderr.readline()
        address = line.split()[1]
        for _ in range(50):
            try:
                page = urllib.request.urlopen(address, timeout=10).read()  # noqa: S310
                break
            except (TimeoutError, OSError):
                time.sleep(0.2)
        assert b"<title>Synergy" in page
    finally:
        process.send_signal(2)
        assert process.wait(20) in (0, -2, 130)
