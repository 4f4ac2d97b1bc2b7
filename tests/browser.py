"""Headless Chromium for tests of web pages."""

import json
import os
import shutil
import subprocess
import time

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A page in headless Chromium, controlled through pipes by its DevTools protocol."""

    def __init__(self, url, profile, *options):
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()
        flags = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
        )
        command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", *options, "about:blank"]
        # Chromium reads commands from file descriptor 3 and writes answers to 4.
        shell = f'exec "$@" 3</dev/fd/{to_browser} 4>/dev/fd/{from_browser}'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", shell, "sh", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.answers = os.fdopen(self.read_end, "rb")
        self.buffer = b""
        self.count = 0
        self.session = None
        try:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
        except (AssertionError, BrokenPipeError):
            pytest.skip(f"{CHROMIUM} does not start on this machine")
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.enable")
        self.send("Page.navigate", url=url)

    def send(self, method, **params):
        """Send a command and return the result; events are dropped."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                part = os.read(self.read_end, 1 << 16)
                assert part, "Chromium has ended"
                self.buffer += part
            raw, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(raw)
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression):
        """Return the value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression, seconds=120):
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, (expression, self.value("document.body?.innerText"))
            time.sleep(0.1)

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        os.close(self.write_end)
        self.answers.close()

    def choose_file(self, path, selector="#file"):
        """Give a file to a file picker of the page."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
