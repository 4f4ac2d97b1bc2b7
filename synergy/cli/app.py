"""`synergy app`: a web page that analyses photos and short clips."""

from __future__ import annotations

from typing import Annotated

import typer

from synergy.app.limits import Limits
from synergy.cli.options import BfmOption, EngineName, EngineOption, NetworkOption, ThreadsOption


def app(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any that is free.")] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to listen at. 0.0.0.0 lets other machines of the network use the app.")
    ] = "127.0.0.1",
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    engine: EngineOption = EngineName.AUTO,
    threads: ThreadsOption = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Photos and clips that are analysed at the same time.")
    ] = Limits.workers,
    clip_seconds: Annotated[
        float,
        typer.Option(
            min=1,
            help="Longest clip in seconds. The analysis of a clip stops after "
            f"{Limits.clip_work_seconds:g} seconds in any case.",
        ),
    ] = Limits.clip_seconds,
    megapixels: Annotated[
        float, typer.Option(min=0.1, max=178, help="Largest photo in megapixels.")
    ] = Limits.megapixels,
    uploads_per_minute: Annotated[
        int, typer.Option(min=1, help="Uploads that one client may send in a minute.")
    ] = Limits.uploads_per_minute,
) -> None:
    """Open a web page for photos, camera pictures and short clips: drawings, a face in 3D, pose, and downloads.

    No network is needed. Results are kept in the memory of this program for up to 30 minutes. A clip lies in a
    temporary folder while it is analysed.
    """
    from synergy.extras import needs_extra

    with needs_extra("app", "synergy app"):
        import av  # noqa: F401
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401

    from synergy.app.security import is_local_host
    from synergy.app.serve import address_of, open_port, serve
    from synergy.cli.console import error_console, say

    console = error_console()
    listener = open_port(host, port)
    is_local = is_local_host(host)
    if not is_local:
        who = f"anyone who can reach port {listener.getsockname()[1]} of this machine"
        say(console, f"{who} can use this app; it has no password and no encryption", "warning:", "yellow")

    from synergy.app.server import create_app
    from synergy.detect import CenterFace
    from synergy.predictor import FacePredictor
    from synergy.registry import open_network

    detector = CenterFace(threads=threads)
    predictor = FacePredictor(open_network(model, bfm), detector, engine=engine.value, threads=threads)
    limits = Limits(
        workers=workers, clip_seconds=clip_seconds, megapixels=megapixels, uploads_per_minute=uploads_per_minute
    )
    address = address_of(listener, host)
    serve(create_app(predictor, limits, is_local), listener, lambda: say(console, f"open {address} (Ctrl-C stops)"))
