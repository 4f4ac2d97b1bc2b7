"""A client that leaves, at a server that runs."""

import http.client
import io
import socket
import tempfile
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from synergy import FacePredictor

av = pytest.importorskip("av")
uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn; install the extra 'app' (docs/install.md)")

N_FRAMES = 400


def long_clip():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=100)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(N_FRAMES):
            frame = np.full((240, 320, 3), i % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.slow
def test_the_analysis_of_a_clip_ends_when_the_client_leaves(monkeypatch, tmp_path):
    from synergy.app import clips
    from synergy.app.limits import Limits
    from synergy.app.serve import open_port
    from synergy.app.server import create_app

    n_written = 0
    write = clips.VideoWriter.write

    def count(*arguments):
        nonlocal n_written
        n_written += 1
        write(*arguments)

    monkeypatch.setattr(clips.VideoWriter, "write", count)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    listener = open_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(FacePredictor(), Limits()), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        connection = http.client.HTTPConnection(*listener.getsockname(), timeout=60)
        connection.request("POST", "/api/clips", long_clip())
        assert b"progress" in connection.getresponse().readline()
        assert len(list(tmp_path.iterdir())) == 1
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        for _ in range(600):
            if not list(tmp_path.iterdir()):
                break
            time.sleep(0.1)
        assert list(tmp_path.iterdir()) == []
        assert 0 < n_written < N_FRAMES
    finally:
        server.should_exit = True
        thread.join()


def test_an_upload_that_is_cancelled_is_no_error_of_the_server(caplog):
    from synergy.app.limits import Limits
    from synergy.app.serve import open_port
    from synergy.app.server import create_app

    listener = open_port("127.0.0.1", 0)
    host, port = listener.getsockname()
    app = create_app(SimpleNamespace(net=SimpleNamespace(model_id="none")), Limits(waiting=0, workers=1))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        for path in ("/api/photos", "/api/clips"):
            with socket.create_connection((host, port)) as connection:
                request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
                connection.sendall(request.encode() + b"part")
                time.sleep(0.5)
        # The place of a cancelled upload is free again: an empty photo is refused as such.
        connection = http.client.HTTPConnection(host, port, timeout=60)
        for _ in range(100):
            connection.request("POST", "/api/photos", b"")
            answer = connection.getresponse().read()
            if b"busy" not in answer:
                break
            time.sleep(0.1)
        connection.close()
        assert b"is empty" in answer
    finally:
        server.should_exit = True
        thread.join()
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
