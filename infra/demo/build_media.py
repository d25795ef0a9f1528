"""Speech, sound files and narrated slideshows."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

RATE = 16_000
FPS = 12
SIZE = (320, 240)
PEAK = 0.8
CODECS = {
    ".wav": ("wav", "pcm_s16le", RATE, "mono"),
    ".mp3": ("mp3", "libmp3lame", RATE, "mono"),
    ".ogg": ("ogg", "vorbis", 32_000, "stereo"),
    ".flac": ("flac", "flac", RATE, "mono"),
    ".m4a": ("ipod", "aac", RATE, "mono"),
    ".opus.ogg": ("ogg", "libopus", 48_000, "mono"),
}
CONTAINERS = {
    ".mp4": ("mp4", "libx264", "aac", RATE),
    ".webm": ("webm", "libvpx-vp9", "libopus", 48_000),
    ".mkv": ("matroska", "libx264", "libopus", 48_000),
    ".mov": ("mov", "mpeg4", "aac", RATE),
}
VIDEO_OPTIONS = {
    "libx264": {"crf": "27", "preset": "slow", "threads": "1"},
    "libvpx-vp9": {"crf": "38", "b": "0", "cpu-used": "4", "threads": "1"},
    "mpeg4": {"b": "160k"},
}
BACKGROUNDS = ("#eef3f8", "#f8f3ea", "#edf6ec", "#f6edf3", "#f3f3f3")


def speak(text: str, voice: str) -> npt.NDArray[np.int16]:
    """The text spoken by a flite voice: int16 `[samples]`, mono at 16 kHz, the peak at 0.8 of full scale."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        said = [
            *("flite", "-voice", voice, "--setf", "duration_stretch=1.25"),
            *("-t", " ".join(text.split()), "-o", str(path)),
        ]
        subprocess.run(said, check=True)
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("s16", "mono", RATE)
            frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
            frames += resampler.resample(None)
    samples = np.concatenate([f.to_ndarray()[0] for f in frames]).astype(np.float32)
    scaled: npt.NDArray[np.int16] = (samples * (PEAK * 32767 / np.abs(samples).max())).astype(np.int16)
    return scaled


def write_sound(path: Path, samples: npt.NDArray[np.int16]) -> None:
    """Encode mono 16 kHz samples, int16 `[samples]`, in the format that the file's suffix names."""
    suffix = ".opus.ogg" if path.name.endswith(".opus.ogg") else path.suffix
    container_name, codec, rate, layout = CODECS[suffix]
    with av.open(str(path), "w", format=container_name, options={"fflags": "+bitexact"}) as container:
        # FFmpeg's own Vorbis encoder calls itself experimental and takes stereo only.
        options = {"strict": "experimental"} if codec == "vorbis" else {}
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for packet in _sound_packets(stream, samples):
            container.mux(packet)


def write_video(path: Path, scenes: list[dict[str, Any]], voice: str | None, images: Path) -> None:
    """A slideshow: each scene's picture under a slow zoom, its narration from 0.4 s after the scene's start.

    Raises:
        ValueError: a narration is longer than its scene.
    """
    container_name, codec, sound_codec, sound_rate = CONTAINERS[path.suffix]
    with av.open(str(path), "w", format=container_name, options={"fflags": "+bitexact"}) as container:
        video: Any = container.add_stream(codec, rate=FPS, options=VIDEO_OPTIONS[codec])
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        video.gop_size = FPS * 4
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        packets: list[Any] = []
        sound = None
        if voice:
            sound = container.add_stream(sound_codec, rate=sound_rate, layout="mono", options={"b": "32k"})
            sound.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in _frames(scenes, images):
            packets += video.encode(frame)
        packets += video.encode(None)
        if voice and sound:
            packets += _sound_packets(sound, _narration(scenes, voice))
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)


def _narration(scenes: list[dict[str, Any]], voice: str) -> npt.NDArray[np.int16]:
    track = np.zeros(sum(s["seconds"] for s in scenes) * RATE, np.int16)
    start = 0
    for scene in scenes:
        said = speak(scene["text"], voice)
        at = start + int(0.4 * RATE)
        start += scene["seconds"] * RATE
        if at + len(said) > start:
            raise ValueError(f"narration of {len(said) / RATE:.1f} s is too long: {scene['text']}")
        track[at : at + len(said)] = said
    return track


def _frames(scenes: list[dict[str, Any]], images: Path) -> Iterator[av.VideoFrame]:
    number = 0
    for index, scene in enumerate(scenes):
        with Image.open(images / scene["image"]) as opened:
            picture = opened.convert("RGBA")
        count = scene["seconds"] * FPS
        for i in range(count):
            canvas = Image.new("RGBA", SIZE, BACKGROUNDS[index % len(BACKGROUNDS)])
            scale = min(SIZE[0] / picture.width, SIZE[1] / picture.height) * (0.75 + 0.2 * i / count)
            size = (round(picture.width * scale), round(picture.height * scale))
            drift = round(16 * (i / count - 0.5))
            corner = ((SIZE[0] - size[0]) // 2 + drift, (SIZE[1] - size[1]) // 2)
            canvas.alpha_composite(
                picture.resize(size, Image.Resampling.BICUBIC), (max(0, corner[0]), corner[1])
            )
            frame = av.VideoFrame.from_ndarray(np.asarray(canvas.convert("RGB")), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            number += 1
            yield frame


def _sound_packets(stream: Any, samples: npt.NDArray[np.int16]) -> list[Any]:
    context = stream.codec_context
    resampler = av.AudioResampler(context.format, context.layout, context.rate, context.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return [p for f in [*frames, None] for p in stream.encode(f)]
