"""Plain calls of libraries that do the same job as a decoder: the ones measured against it.

Pictures give uint8 `[height, width, 3]` RGB at the model's size, sound int16 at 16 kHz in windows of 30 s, video its
frame of each second, pages a render and a text, text its chunks. Each library on one thread. `LESS` names what gives
less than a decoder does.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import av
import cv2
import lxml.html
import numpy as np
import pypdfium2 as pdfium
import semantic_text_splitter
import simplejpeg
import soundfile
import soxr
from av.video.reformatter import Interpolation
from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image
from selectolax.lexbor import LexborHTMLParser
from tokenizers import Tokenizer

from operators.decode.resample import Samples
from operators.model.contract import TextCounter

SIDE = 384
RATE = 16_000
WINDOW_S, OVERLAP_S = 30, 2
CHUNK, REPEAT = 256, 32

Plain = Callable[[bytes], Any]

cv2.setNumThreads(1)
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"


def pillow(data: bytes) -> np.ndarray:
    """Open, convert, resize: what most people write."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def pillow_reduced(data: bytes) -> np.ndarray:
    """Pillow at its fastest: JPEGs decoded at reduced size, large reductions in two steps."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (SIDE, SIDE))
    image = image.convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0))


def opencv(data: bytes) -> np.ndarray:
    """OpenCV: decode, area resize, RGB."""
    return _fitted(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))


def opencv_bicubic(data: bytes) -> np.ndarray:
    """OpenCV's decoders and Pillow's bicubic, which the models' processors resize with."""
    image = Image.fromarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def opencv_reduced(data: bytes) -> np.ndarray:
    """OpenCV with JPEGs decoded at reduced size."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    fits = [by for by in flags if min(width, height) // by >= SIDE]
    flag = flags[max(fits)] if fits else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    return _fitted(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def turbo(data: bytes) -> np.ndarray:
    """libjpeg-turbo's scaled decode through simplejpeg, then OpenCV's area resize."""
    return _fitted(simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE, min_width=SIDE, min_factor=1))


def turbo_bicubic(data: bytes) -> np.ndarray:
    """libjpeg-turbo's scaled decode through simplejpeg, then Pillow's bicubic."""
    image = Image.fromarray(
        simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE, min_width=SIDE, min_factor=1)
    )
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0))


def pillow_vectorised(data: bytes) -> np.ndarray:
    """Pillow's decoders, JPEGs at reduced size, and cykooz_resizer's vector instructions for the same bicubic."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (SIDE, SIDE))
    return _vectorised(image.convert("RGB"))


def turbo_vectorised(data: bytes) -> np.ndarray:
    """libjpeg-turbo's scaled decode through simplejpeg, then cykooz_resizer's bicubic."""
    return _vectorised(
        Image.fromarray(simplejpeg.decode_jpeg(data, "RGB", min_height=SIDE, min_width=SIDE, min_factor=1))
    )


def _vectorised(image: Image.Image) -> np.ndarray:
    small = Image.new("RGB", (SIDE, SIDE))
    bicubic = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom))
    Resizer().resize_pil(image, small, bicubic)
    return np.asarray(small)


def _fitted(image: np.ndarray) -> np.ndarray:
    shrinks = image.shape[0] > SIDE and image.shape[1] > SIDE
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def pillow_frames(data: bytes) -> list[np.ndarray]:
    """An animation's frame of each second through Pillow."""
    image, at, taken = Image.open(io.BytesIO(data)), 0, []
    for index in range(image.n_frames):
        image.seek(index)
        if at >= 1000 * len(taken):
            taken.append(np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
        at += image.info["duration"]
    return taken


def _windows(samples: Samples) -> list[Samples]:
    step = (WINDOW_S - OVERLAP_S) * RATE
    last = max(1, len(samples) - OVERLAP_S * RATE)
    return [samples[at : at + WINDOW_S * RATE] for at in range(0, last, step)]


def pyav_sound(data: bytes) -> list[Samples]:
    """PyAV: decode, resample each frame, join."""
    return _windows(_pyav_sound(data)[0])


def _pyav_sound(data: bytes) -> tuple[Samples, int]:
    """The samples, and how many of them the header promises."""
    with av.open(io.BytesIO(data)) as file:
        promised = RATE * (file.duration or 0) // 1_000_000
        file.streams.audio[0].thread_type = "NONE"
        resampler = av.AudioResampler("s16", "mono", RATE)
        heard = [f.to_ndarray()[0] for frame in file.decode(audio=0) for f in resampler.resample(frame)]
        heard += [f.to_ndarray()[0] for f in resampler.resample(None)]
    return np.concatenate(heard), promised


def libsndfile(data: bytes) -> list[Samples]:
    """libsndfile, then soxr at its default quality."""
    return _libsndfile(data, "HQ")


def libsndfile_quick(data: bytes) -> list[Samples]:
    """libsndfile, then soxr at the quality nearest to libswresample's."""
    return _libsndfile(data, "LQ")


def libsndfile_whole(data: bytes) -> list[Samples]:
    """libsndfile and soxr, once a WAV's own size has been compared with the file's."""
    if data[:4] == b"RIFF" and 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise ValueError("cut off")
    return _libsndfile(data, "HQ")


def pyav_whole(data: bytes) -> list[Samples]:
    """PyAV as above, and an error where a second of what the header promises is missing."""
    samples, promised = _pyav_sound(data)
    if promised - len(samples) > RATE:
        raise ValueError("cut off")
    return _windows(samples)


def _libsndfile(data: bytes, quality: str) -> list[Samples]:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1).astype(np.int16)
    return _windows(mono if rate == RATE else soxr.resample(mono, rate, RATE, quality))


def pyav_frames_whole(data: bytes) -> list[np.ndarray]:
    """PyAV as below, and an error where there are fewer frames than the header's seconds."""
    taken, promised = _pyav_frames(data)
    if len(taken) < promised // 1_000_000:
        raise ValueError("cut off")
    return taken


def pyav_frames(data: bytes) -> list[np.ndarray]:
    """PyAV: decode all, keep the first frame of each second."""
    return _pyav_frames(data)[0]


def _pyav_frames(data: bytes) -> tuple[list[np.ndarray], int]:
    """The frames, and the microseconds that the header promises."""
    taken: list[np.ndarray] = []
    with av.open(io.BytesIO(data)) as file:
        promised = file.duration or 0
        file.streams.video[0].thread_type = "NONE"
        for frame in file.decode(video=0):
            if frame.time >= len(taken):
                small = frame.reformat(SIDE, SIDE, "rgb24", interpolation=Interpolation.BICUBIC)
                taken.append(small.to_ndarray())
    return taken, promised


def opencv_frames(data: bytes) -> list[np.ndarray]:
    """OpenCV: grab all, retrieve the first frame of each second; it reads files alone."""
    taken: list[np.ndarray] = []
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(data)
        file.flush()
        film = cv2.VideoCapture(file.name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        rate, index = film.get(cv2.CAP_PROP_FPS), 0
        while film.grab():
            if index / rate >= len(taken):
                taken.append(cv2.cvtColor(_fitted(film.retrieve()[1]), cv2.COLOR_BGR2RGB))
            index += 1
        film.release()
    return taken


def pdfium_pages(data: bytes) -> list[tuple[np.ndarray, str]]:
    """pypdfium2: render at 96 dpi, resize with OpenCV, and the text."""
    return [(_fitted(image), text) for image, text in _pdfium(data, lambda page: 96 / 72)]


def pdfium_fitted(data: bytes) -> list[tuple[np.ndarray, str]]:
    """pypdfium2: render with the shorter side at the model's size, resize, and the text."""
    return [(_fitted(image), text) for image, text in _pdfium(data, lambda page: SIDE / min(page.get_size()))]


def _pdfium(data: bytes, scale: Callable[[pdfium.PdfPage], float]) -> Iterator[tuple[np.ndarray, str]]:
    document = pdfium.PdfDocument(data)
    for page in document:
        image = page.render(scale=scale(page), rev_byteorder=True).to_numpy()[:, :, :3]
        yield image, page.get_textpage().get_text_bounded()
        page.close()
    document.close()


def chunks_of(counter: TextCounter) -> Plain:
    """The whole text through the model's tokenizer once, then slices of its tokens: boundaries where they fall."""
    return lambda data: _chunks(data.decode(), counter)


def splitter_of(tokenizer: Tokenizer) -> Plain:
    """semantic-text-splitter (Rust): chunks of the model's tokens on natural boundaries, with overlap."""
    splitter = _splitter(tokenizer)

    def split_text(data: bytes) -> list[str]:
        return splitter.chunks(data.decode())

    return split_text


def selectolax_split(tokenizer: Tokenizer) -> Plain:
    """selectolax' own text of a page, then semantic-text-splitter."""
    splitter = _splitter(tokenizer)

    def split_page(data: bytes) -> list[str]:
        return splitter.chunks(_page_text(data))

    return split_page


def _splitter(tokenizer: Tokenizer) -> semantic_text_splitter.TextSplitter:
    return semantic_text_splitter.TextSplitter.from_huggingface_tokenizer(tokenizer, CHUNK, overlap=REPEAT)


def _page_text(data: bytes) -> str:
    tree = LexborHTMLParser(data.decode())
    tree.strip_tags(["script", "style", "noscript"])
    return tree.root.text(separator="\n", strip=True)


def selectolax_text(counter: TextCounter) -> Plain:
    """selectolax' own text of a page, scripts and styles taken out, then slices."""

    def slice_page(data: bytes) -> list[str]:
        return _chunks(_page_text(data), counter)

    return slice_page


def lxml_text(counter: TextCounter) -> Plain:
    """lxml, scripts and styles taken out, then slices."""

    def read(data: bytes) -> list[str]:
        tree = lxml.html.document_fromstring(data.decode())
        for node in list(tree.iter("script", "style", "noscript")):
            node.drop_tree()
        return _chunks("\n".join(t.strip() for t in tree.itertext() if t.strip()), counter)

    return read


def _chunks(text: str, counter: TextCounter) -> list[str]:
    spans = counter.offsets(text)
    starts = range(0, max(1, len(spans) - REPEAT), CHUNK - REPEAT)
    return [text[spans[at][0] : spans[min(at + CHUNK, len(spans)) - 1][1]] for at in starts]


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """How near two pictures are: peak signal to noise."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


OUR_RESIZER = ("pillow_vectorised", "turbo_vectorised")
"""Ways with the resizer that the decoder has taken from elsewhere: what is left beside them is the child."""

_AREA = "averages areas: other pixels than the bicubic of the models' processors"
LESS: dict[str, str] = {
    "opencv": _AREA,
    "opencv_reduced": _AREA,
    "turbo": _AREA,
    "libsndfile_quick": "resamples at a lower quality",
    "chunks_of": "ends a chunk inside a sentence or a word",
    "selectolax_text": "ends a chunk inside a sentence or a word",
    "lxml_text": "ends a chunk inside a sentence or a word",
}
"""What a way does not give that the decoder gives; damage that it does not notice is found out by measuring."""
