"""What an asset is: content first, name second, and what nothing reads is named."""

from __future__ import annotations

import io
import json
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from operators.decode.sniff import CSV, DOCUMENT, HEAD_BYTES, MARKDOWN, sniff
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode
from tests.operators.decode.clips import audio, tone, video
from tests.operators.decode.pages import pdf_bytes


def picture(format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, format)
    return out.getvalue()


def paint(seconds: float) -> np.ndarray:
    return np.full((32, 32, 3), int(seconds * 60) % 255, np.uint8)


@pytest.mark.parametrize(
    ("format", "mime"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("TIFF", "image/tiff"),
        ("BMP", "image/bmp"),
        ("AVIF", "image/avif"),
        ("JPEG2000", "image/jp2"),
        ("ICO", "image/vnd.microsoft.icon"),
        ("PPM", "image/x-portable-anymap"),
    ],
)
def test_pictures_are_known_by_content_under_any_name(format: str, mime: str) -> None:
    for name in ("x", "photo.mp3", "s3://b/a.txt"):
        media = sniff(picture(format), name)
        assert (media.mime, media.modality) == (mime, Modality.IMAGE)


@pytest.mark.parametrize(
    ("container", "codec", "mime"),
    [
        ("wav", "pcm_s16le", "audio/wav"),
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("ogg", "libopus", "audio/ogg"),
        ("flac", "flac", "audio/flac"),
        ("ipod", "aac", "audio/mp4"),
        ("adts", "aac", "audio/aac"),
        ("aiff", "pcm_s16be", "audio/aiff"),
        ("matroska", "libopus", "audio/x-matroska"),
        ("webm", "libopus", "audio/webm"),
    ],
)
def test_sound_is_known_by_content(container: str, codec: str, mime: str) -> None:
    rate = 48_000 if codec == "libopus" else 44_100
    media = sniff(audio(container, codec, tone(0.3, rate), rate), "movie.mp4")
    assert (media.mime, media.modality) == (mime, Modality.AUDIO)


def test_an_mp3_without_tags_is_known_by_its_frames() -> None:
    data = audio("mp3", "libmp3lame", tone(0.3))
    bare = data[data.index(b"\xff\xfb") :]
    assert sniff(bare, "x").mime == "audio/mpeg"


@pytest.mark.parametrize(
    ("container", "codec", "mime"),
    [
        ("mp4", "libx264", "video/mp4"),
        ("mov", "libx264", "video/quicktime"),
        ("webm", "libvpx", "video/webm"),
        ("matroska", "libx264", "video/x-matroska"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("mpegts", "libx264", "video/mp2t"),
    ],
)
def test_videos_are_known_by_content(container: str, codec: str, mime: str) -> None:
    media = sniff(video([0, 40, 80, 120, 160], paint, container, codec)[:HEAD_BYTES], "song.mp3")
    assert (media.mime, media.modality) == (mime, Modality.VIDEO)


def test_an_mp4_without_pictures_is_sound_when_its_head_says_so() -> None:
    data = audio("mp4", "aac", tone(0.3))
    assert b"M4A" not in data[:32]
    assert sniff(data, "x.mp4").modality is Modality.AUDIO
    assert sniff(data[:64], "x.m4a").modality is Modality.AUDIO
    assert sniff(data[:64], "x.mp4").modality is Modality.VIDEO


def test_ogg_is_sound_or_video_by_its_streams() -> None:
    theora = b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora\3\2"
    assert sniff(theora, "x.ogg").modality is Modality.VIDEO


def test_heic_is_a_picture() -> None:
    head = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"
    assert sniff(head, "x.mp4").mime == "image/heic"


def test_a_pdf_may_begin_late() -> None:
    assert sniff(b"junk\n" + pdf_bytes("x"), "x.txt").modality is Modality.PAGE


@pytest.mark.parametrize(
    ("text", "name", "mime"),
    [
        ("# Title\n", "a.md", "text/markdown"),
        ("a,b\n1,2\n", "s3://bucket/a.csv", "text/csv"),
        ("def f(): ...\n", "f.py", "text/x-python"),
        ("plain", "README", "text/plain"),
        ("const a: number = 1", "a.ts", "text/x-typescript"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nx", "a.txt", "text/vtt"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx", "a", "application/x-subrip"),
        ("{\\rtf1\\ansi x}", "a.doc", "application/rtf"),
        ("From: a@b.c\nMIME-Version: 1.0\nSubject: s\n\nx", "a.txt", "message/rfc822"),
        ("From: a@b.c\nSubject: s\n\nx", "a.eml", "message/rfc822"),
        ("From: here\nTo: there\n\nx", "a.txt", "text/plain"),
        ("From a@b Sat Jan  3 01:05:34 1996\nFrom: a@b\nReceived: x\n\nx", "a", "application/mbox"),
        ("a\tb\n", "a.tsv", "text/tab-separated-values"),
        ('{"cells": []}', "a.ipynb", "application/x-ipynb+json"),
        ("PAR1 is a magic word", "a.txt", "text/plain"),
        ("<!DOCTYPE html><p>x", "page", "text/html"),
        ("\n<!-- c -->\n<html lang=en>", "page.php", "text/html"),
        ('{"a": 1}', "a.json", "application/json"),
        ('{"parts": [1]}\n{"parts": [2]}\n', "a.jsonl", "application/jsonl"),
        ("BMW is a make of cars", "a.txt", "text/plain"),
        ("MZ is the mark of a Windows program", "a.txt", "text/plain"),
        ("not really a picture", "a.jpg", "text/plain"),
    ],
)
def test_text_is_text_and_its_name_says_which(text: str, name: str, mime: str) -> None:
    media = sniff(text.encode(), name)
    assert (media.mime, media.modality) == (mime, Modality.TEXT)


@pytest.mark.parametrize(
    "codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "cp1251", "shift_jis"]
)
def test_text_in_any_encoding_is_text(codec: str) -> None:
    text = {"cp1252": "déjà vu à Zürich", "cp1251": "Привет, мир", "utf-16-le": "to Zürich, 東京"}.get(
        codec, "日本語のテキスト"
    )
    assert sniff(text.encode(codec), "x").modality is Modality.TEXT


def test_a_stray_control_byte_does_not_make_a_log_binary() -> None:
    log = "température élevée\n".encode("cp1252") * 40
    assert sniff(log + b"\0" + log, "x").modality is Modality.TEXT
    with pytest.raises(AssetError):
        sniff(np.random.default_rng(0).bytes(4096), "x")


def test_a_character_cut_at_the_end_of_the_head_is_still_utf8() -> None:
    assert sniff("é".encode()[:1].join([b"abc ", b""]), "x").modality is Modality.TEXT


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ({"parts": ["a"]}, True),
        ({"id": "1", "meta": {"parts": "no", "deep": [{"x": "}"}]}, "parts": []}, True),
        ({"meta": {"parts": ["a"]}}, False),
        ({"parts": "a"}, False),
        ({"x": '"parts": ['}, False),
        (["parts", ["a"]], False),
        ([{"parts": ["a"]}], False),
    ],
)
def test_a_document_is_a_json_object_with_a_list_of_parts(value: object, document: bool) -> None:
    media = sniff(json.dumps(value, indent=1).encode(), "x.json")
    assert (media.mime == DOCUMENT) is document
    assert (media.modality is Modality.DOCUMENT) is document


def test_a_document_longer_than_the_head_is_known_by_its_beginning() -> None:
    text = json.dumps({"id": 1, "parts": [{"type": "image", "data": "A" * 200_000}]})
    assert sniff(text.encode()[:HEAD_BYTES], "x").modality is Modality.DOCUMENT


def test_what_nothing_reads_is_named() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "x")
    for data, said in (
        (out.getvalue(), "ZIP"),
        (b"\x1f\x8b\x08\0\1\2\3", "gzip"),
        (b"\x01\xfe\0\2" * 9, "01 fe 00 02"),
    ):
        with pytest.raises(AssetError) as caught:
            sniff(data, "letter.docx")
        assert caught.value.code is ErrorCode.UNSUPPORTED
        assert said in caught.value.detail


def test_a_name_decides_only_where_the_content_does_not() -> None:
    damaged = b"\x00\x99\x01\xff" * 30
    assert sniff(damaged, "photo.jpg").modality is Modality.IMAGE
    assert sniff(damaged, "https://host/a/film.mp4?x=1").modality is Modality.VIDEO
    assert sniff(picture("PNG"), "photo.jpg").mime == "image/png"
    with pytest.raises(AssetError):
        sniff(b"\x7fELF\2\1\1\0", "photo.jpg")


@pytest.mark.parametrize(
    "text",
    [
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "\ufeff<?xml version='1.0'?>\n<!-- a - b -->\n<svg:svg/>",
        "<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG' 'http://x' [<!ENTITY a 'b'>]><!-- c --><svg>",
    ],
)
def test_a_drawing_is_a_picture_by_its_content(text: str) -> None:
    media = sniff(text.encode(), "page.txt")
    assert (media.mime, media.modality) == ("image/svg+xml", Modality.IMAGE)


def test_markup_that_only_mentions_a_drawing_is_text() -> None:
    assert sniff(b"<html><body><svg></svg></body></html>", "a").mime == "text/html"
    assert sniff(b"<plan><svg/></plan>", "a.xml").modality is Modality.TEXT


def test_a_head_of_ten_thousand_comments_is_looked_at_once() -> None:
    started = time.process_time()
    assert sniff((b"<!---->" * 10_000 + b"<x>")[:HEAD_BYTES], "a.txt").modality is Modality.TEXT
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("brands", "mime"),
    [
        (b"heic\0\0\0\0mif1heic", "image/heic"),
        (b"msf1\0\0\0\0hevcmsf1", "image/heic"),
        (b"mif1\0\0\0\0mif1avif", "image/avif"),
        (b"avis\0\0\0\0avismsf1", "image/avif"),
    ],
)
def test_stills_and_sequences_of_iso_pictures_are_told_apart(brands: bytes, mime: str) -> None:
    head = (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08free"
    assert sniff(head, "x.mp4").mime == mime


def test_jpeg_xl_is_named() -> None:
    for head in (b"\xff\x0a\xfa\x1f\x41\x91", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl "):
        with pytest.raises(AssetError, match="JPEG XL") as caught:
            sniff(head, "photo.jxl")
        assert caught.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("/docs/C# notes.md", MARKDOWN),
        ("s3://bucket/Q#1 sales.csv", CSV),
        ("/docs/why?.md", MARKDOWN),
        ("x.zip!/Q#1.csv", CSV),
        ("https://host/a.csv?v=1.md#x.md", CSV),
    ],
)
def test_a_hash_or_a_question_mark_in_a_file_name_is_part_of_it(name: str, mime: str) -> None:
    assert sniff(b"a,b\n1,2\n", name).mime == mime
