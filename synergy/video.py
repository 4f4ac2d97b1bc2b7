"""Read video files with their times, and write H.264 files with the original sound. Needs PyAV (extra `video`)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synergy.defaults import MAX_PIXELS
from synergy.errors import UserError, describe
from synergy.extras import needs_extra
from synergy.images import check_pixels

Image = NDArray[np.uint8]

# Sound in this codec is copied, because every browser plays it in an mp4 file. Other sound is encoded in it.
_SOUND_CODEC = "aac"
# A video whose frames end this much before its stated end was cut off: in seconds, and in frame intervals.
_CUT_OFF = (0.2, 3)
# A time that lies this many seconds before the one before it comes from a clock that has started again.
_RESTART = Fraction(1, 2)
# The time at which a stream of a Matroska file ends, for example 00:00:02.700000000.
_MATROSKA_END = re.compile(r"(\d+):(\d+):([\d.]+)")
# yuv420p has one colour sample for 2 x 2 pixels, so sides are even.
_EVEN = 2


class Frame(NamedTuple):
    """One frame of a video.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        seconds: time since the first frame.
        ticks: time as the file states it, in units of `VideoReader.time_base`. Few files begin at 0. Where the clock of
            the file starts again, the times go on.
    """

    image: Image
    seconds: float
    ticks: int


class _Clock:
    """Make the times of one stream of a file increase, also where the clock of the file starts again.

    The clock starts again in files that were joined byte by byte (`cat a.ts b.ts`). What comes after such a place
    follows directly on what was before.

    Args:
        time_base: seconds per tick.
        start: the time in seconds that becomes 0.
    """

    def __init__(self, time_base: Fraction, start: Fraction = Fraction(0)) -> None:
        self._restart = _RESTART / time_base
        self._shift = -round(start / time_base)
        self._last: int | None = None
        self._end = 0

    def __call__(self, ticks: int | None, duration: int) -> int:
        """Return the time of the next picture or piece of sound, in ticks.

        Args:
            ticks: its time in the file; None if the file does not state it.
            duration: its length in ticks.
        """
        ticks = self._end if ticks is None else ticks + self._shift
        if self._last is not None:
            if self._last - ticks > self._restart:
                self._shift += self._end - ticks
                ticks = self._end
            ticks = max(ticks, self._last + 1)
        self._last, self._end = ticks, ticks + duration
        return ticks


class VideoReader:
    """Read the frames of a video file, as a context manager.

    Frames are rotated upright by the file's rotation metadata. Their times are those of the file, so that a variable
    frame rate is kept. What is damaged is left out, and `problem` then says how much was read.

    Args:
        path: the video file.
        max_pixels: videos whose frames have more pixels are refused.

    Attributes:
        path: the video file.
        time_base: seconds per tick.
        rate: mean number of frames per second, as the file states it; 25 if it does not.
        pixel_aspect: width of a pixel of the upright frames divided by its height; 1 if the file does not state it. It
            is known after the first frame.
        duration: length in seconds of the pictures, or of the whole file where only that is stated; None if unknown.
        problem: one line about what could not be read; empty if everything could. It is known after the last frame.

    Raises:
        UserError: the file is not a video that can be read, its frames have too many pixels, or PyAV is not installed.

    Example:
        with VideoReader("clip.mp4") as video:
            for image, seconds, _ in video:
                ...
    """

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        with needs_extra("video", "a video"):
            import av
            import av.error
        self.path = Path(path)
        try:
            self._container: Any = av.open(_location(path), metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or describe(error)
            raise UserError(f"{path}: cannot be read as a video ({reason})") from None
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{path}: has no pictures")
        self._stream: Any = self._container.streams.video[0]
        if self._stream.codec_context is None:
            self._container.close()
            raise UserError(f"{path}: its video codec is not known")
        self._stream.thread_type = "AUTO"
        self._max_pixels = max_pixels
        try:
            self._check_pixels(self._stream.width, self._stream.height)
        except UserError:
            self._container.close()
            raise
        self.time_base = Fraction(self._stream.time_base or Fraction(1, 1000))
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.pixel_aspect = self._stored_aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.duration, self._is_of_pictures = self._stated_duration()
        self.problem = ""

    def _check_pixels(self, width: int, height: int) -> None:
        """Refuse frames that are too large."""
        check_pixels(width, height, self._max_pixels, str(self.path))

    def _stated_duration(self) -> tuple[float | None, bool]:
        """Return the duration in seconds that the file states, and whether it is that of the pictures alone."""
        if tag := _MATROSKA_END.fullmatch(self._stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = (float(part) for part in tag.groups())
            return 3600 * hours + 60 * minutes + seconds - float((self._stream.start_time or 0) * self.time_base), True
        if self._stream.duration:
            return float(self._stream.duration * self.time_base), True
        # The duration of the whole file, whose sound may be longer. The file's own unit is the microsecond.
        whole = self._container.duration / 1e6 if self._container.duration else None
        return whole, len(self._container.streams) == 1

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, with increasing times.

        Raises:
            UserError: the file has no frame that can be read, or a frame has too many pixels.
        """
        first = end = None
        n_damaged = 0
        interval = max(1, round(1 / (self.rate * self.time_base)))
        clock = _Clock(self.time_base)
        for decoded in self._decode():
            if decoded is None:
                n_damaged += 1
                continue
            ticks = clock(decoded.pts, interval)
            first = ticks if first is None else first
            end = ticks + (decoded.duration or interval)
            # The decoded size counts, which may differ from the size that the file states.
            self._check_pixels(decoded.width, decoded.height)
            image = _upright(decoded.to_ndarray(format="rgb24"), decoded.rotation)
            self.pixel_aspect = self._stored_aspect ** (-1 if decoded.rotation % 180 else 1)
            yield Frame(image, float((ticks - first) * self.time_base), ticks)
        if first is None or end is None:
            raise UserError(f"{self.path}: the video has no frame that can be read")
        self.problem = self._describe_problem(float((end - first) * self.time_base), n_damaged)

    def _decode(self) -> Iterator[Any]:
        """Yield decoded frames, and None for each piece of data that is damaged."""
        import av.error

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                yield None
                return
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                yield None

    def _describe_problem(self, seconds: float, n_damaged: int) -> str:
        """Say how much was read, where that is not all."""
        tolerance = max(_CUT_OFF[0], _CUT_OFF[1] / float(self.rate))
        if self.duration is not None and self._is_of_pictures and seconds < self.duration - tolerance:
            return f"cut off or damaged, {seconds:.2f} of {self.duration:.2f} s could be read"
        if n_damaged:
            return f"{n_damaged} damaged part(s) were left out, {seconds:.2f} s could be read"
        return ""


def _location(path: str | Path) -> str:
    """Return an absolute path. In a relative one, FFmpeg takes the text before a colon for the name of a protocol."""
    return str(Path(path).absolute())


def _upright(image: Image, degrees: int) -> Image:
    """Rotate a frame counterclockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, round(degrees / 90) % 4))


class VideoWriter:
    """Write an mp4 file that plays in browsers: H.264, yuv420p, index at the start. A context manager.

    The times of the frames and the sound are those of another video, or the frames have a constant rate and no sound.
    Pixels have the shape of those of the other video, or are square. The first frame is at time 0, as `Frame.seconds`
    counts. The file is complete after the `with` block.

    Args:
        path: file to write, ending in .mp4.
        source: the video whose times and sound are taken, or the number of frames per second.

    Attributes:
        problem: one line about sound that is left out; empty if there is none. It is known after the first frame.

    Example:
        with VideoReader("clip.mp4") as video, VideoWriter("out.mp4", video) as writer:
            for frame in video:
                writer.write(frame.image, frame.ticks)
    """

    def __init__(self, path: str | Path, source: VideoReader | float) -> None:
        with needs_extra("video", "a video"):
            import av

        self._container: Any = av.open(_location(path), "w", format="mp4", options={"movflags": "+faststart"})
        if isinstance(source, VideoReader):
            self._rate, self._time_base = source.rate, source.time_base
        else:
            self._rate = Fraction(source).limit_denominator(1001)
            self._time_base = 1 / self._rate
        self._source = source if isinstance(source, VideoReader) else None
        self._stream: Any = None
        self.problem = ""
        self._start = 0
        self._sound: Any = None
        self._sound_packets: Iterator[Any] = iter(())
        self._waiting: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the file."""
        if self._stream is not None and kind is None:
            self._container.mux(self._stream.encode(None))
            self._copy_sound(None)
        self._container.close()
        if self._sound is not None:
            self._sound.close()

    def write(self, image: Image, ticks: int) -> None:
        """Append a frame.

        Args:
            image: (H, W, 3) uint8 RGB. All frames have the size of the first one.
            ticks: time of the frame in the source's `time_base`, or the number of the frame. It is larger than that of
                the frame before.
        """
        import av

        even = np.pad(image, ((0, image.shape[0] % _EVEN), (0, image.shape[1] % _EVEN), (0, 0)), "edge")
        if self._stream is None:
            self._start = ticks
            self._open_streams(even.shape[1], even.shape[0])
        frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
            self._stream.width, self._stream.height, "yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = ticks - self._start, self._time_base
        self._container.mux(self._stream.encode(frame))
        self._copy_sound(frame.pts * self._time_base)

    def _open_streams(self, width: int, height: int) -> None:
        """Add the video stream, and a sound stream where the source has sound."""
        import av

        self._stream = self._container.add_stream(
            "libx264", rate=self._rate, options={"crf": "20", "preset": "veryfast"}
        )
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = self._time_base
        # 1 is ITU-R BT.709 for all three, which is what players assume for larger videos.
        context = self._stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        if self._source is None:
            return
        context.sample_aspect_ratio = self._source.pixel_aspect
        self._sound = av.open(_location(self._source.path), metadata_errors="replace")
        streams = self._sound.streams.audio
        # A stream of an unknown codec has no context.
        stream = next((one for one in streams if one.codec_context is not None), None)
        if stream is None:
            self.problem = "the sound is left out, its codec is not known" if streams else ""
        elif stream.codec_context.name == _SOUND_CODEC:
            self._sound_packets = self._copied(stream, self._container.add_stream_from_template(stream))
        else:
            rate = stream.codec_context.sample_rate
            nearest = min(av.Codec(_SOUND_CODEC, "w").audio_rates or [rate], key=lambda one: abs(one - rate))
            self._sound_packets = self._encoded(stream, self._container.add_stream(_SOUND_CODEC, rate=nearest))

    def _sound_clock(self, stream: Any) -> _Clock:
        """Return a clock for a sound stream that counts from the first frame of the video."""
        return _Clock(stream.time_base, self._start * self._time_base)

    def _copied(self, stream: Any, target: Any) -> Iterator[Any]:
        """Yield the packets of a sound stream for another file. What is damaged is left out."""
        clock = self._sound_clock(stream)
        for packet in _undamaged(self._sound.demux(stream)):
            if packet.dts is not None:
                packet.pts = packet.dts = clock(packet.dts, packet.duration or 0)
                packet.stream = target
                yield packet

    def _encoded(self, stream: Any, target: Any) -> Iterator[Any]:
        """Yield a sound stream's packets, encoded again. What is damaged is left out."""
        import av

        clock = self._sound_clock(stream)
        # The rate and the channels may change within a stream. Each kind needs a resampler of its own.
        resamplers: dict[tuple[str, str, int], Any] = defaultdict(
            lambda: av.AudioResampler(target.format, target.layout, target.rate)
        )
        for packet in _undamaged(self._sound.demux(stream)):
            for frame in _undamaged(_frames_of(packet)):
                ticks = clock(frame.pts, round(frame.samples / frame.sample_rate / frame.time_base))
                frame.pts = round(ticks * frame.time_base * target.rate)
                frame.time_base = Fraction(1, target.rate)
                kind = frame.format.name, frame.layout.name, frame.sample_rate
                for resampled in resamplers[kind].resample(frame):
                    yield from target.encode(resampled)
        yield from target.encode(None)

    def _copy_sound(self, until: Fraction | None) -> None:
        """Write the sound up to a time in seconds, or all of it."""
        while True:
            packet = self._waiting if self._waiting is not None else next(self._sound_packets, None)
            self._waiting = packet
            if packet is None or (until is not None and packet.dts * packet.time_base > until):
                return
            self._container.mux(packet)
            self._waiting = None


def _frames_of(packet: Any) -> Iterator[Any]:
    """Yield the frames of a packet."""
    yield from packet.decode()


def _undamaged(items: Iterator[Any]) -> Iterator[Any]:
    """Yield items until the first one that FFmpeg cannot read."""
    import av.error

    try:
        yield from items
    except av.error.FFmpegError:
        return
