"""Source code by its definitions: a chunk is whole functions and classes as far as they fit, named by what is around.

Without the grammars (`embedlake[code]`), and for text that is too long to parse, code is cut as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from operators.decode.asset import Asset
from operators.decode.readable import Readable, readable_segments
from operators.decode.sections import Heading
from operators.decode.text import decode_text, encoding
from operators.parts import Segment

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

PARSED_BYTES = 1 << 20

_GRAMMARS = {
    "text/x-python": ("tree_sitter_python", "language"),
    "text/javascript": ("tree_sitter_javascript", "language"),
    "text/x-typescript": ("tree_sitter_typescript", "language_typescript"),
    "text/x-tsx": ("tree_sitter_typescript", "language_tsx"),
    "text/x-java": ("tree_sitter_java", "language"),
    "text/x-go": ("tree_sitter_go", "language"),
    "text/x-rust": ("tree_sitter_rust", "language"),
    "text/x-c": ("tree_sitter_c", "language"),
    "text/x-c++": ("tree_sitter_cpp", "language"),
    "text/x-csharp": ("tree_sitter_c_sharp", "language"),
    "text/x-ruby": ("tree_sitter_ruby", "language"),
    "text/x-php": ("tree_sitter_php", "language_php"),
    "text/x-kotlin": ("tree_sitter_kotlin", "language"),
    "text/x-scala": ("tree_sitter_scala", "language"),
    "text/x-swift": ("tree_sitter_swift", "language"),
    "application/x-sh": ("tree_sitter_bash", "language"),
}
_CONTAINERS = re.compile(
    "class_definition|class_declaration|abstract_class_declaration|class|class_specifier|struct_specifier"
    "|struct_item|union_item|enum_item|trait_item|impl_item|mod_item|module|module_declaration"
    "|internal_module|namespace_definition|namespace_declaration|file_scoped_namespace_declaration"
    "|interface_declaration|enum_declaration|record_declaration|struct_declaration|trait_declaration"
    "|trait_definition|object_definition|object_declaration|protocol_declaration|enum_definition"
    "|extension_definition"
)
_LEAVES = re.compile(
    "function_definition|function_declaration|generator_function_declaration|function_item"
    "|method_definition|method_declaration|method|singleton_method|constructor_declaration"
    "|init_declaration|deinit_declaration|destructor_declaration|operator_declaration|macro_definition"
    "|type_declaration|type_definition|type_alias_declaration|type_item|annotation_type_declaration"
    "|enum_specifier|union_specifier|delegate_declaration|property_declaration"
)
_WRAPPERS = frozenset(("decorated_definition", "export_statement", "template_declaration"))
_FUNCTIONS = frozenset(("arrow_function", "function_expression", "generator_function", "class"))
_NAMES = ("name", "declarator", "type")
_BETWEEN = 4
"""Nodes between a definition and one inside it, such as a body, a list or a conditional."""


def decode_code(asset: Asset) -> Iterator[Segment]:
    """Chunks of source code; characters are those of the file.

    Raises:
        AssetError: EMPTY, CORRUPT where no encoding fits.
    """
    asset.file.seek(0, 2)
    parser = _parser(asset.media.mime) if asset.file.tell() <= PARSED_BYTES else None
    if parser is None:
        return decode_text(asset)
    codec = encoding(asset.file)
    text = asset.read(PARSED_BYTES).decode(codec, "replace")
    return readable_segments([Readable(text, tuple(definitions(text, parser)))], asset)


def _parser(mime: str) -> Parser | None:
    module, function = _GRAMMARS[mime]
    try:
        from tree_sitter import Language, Parser

        return Parser(Language(getattr(import_module(module), function)()))
    except ImportError:
        return None


def definitions(text: str, parser: Parser) -> list[Heading]:
    """Where each definition begins, its comments included, and where the code after it goes on."""
    data = text.encode("utf-8", "surrogatepass")
    marks: list[tuple[int, int, str]] = []
    _walk(parser.parse(data).root_node, 1, marks)
    headings: list[Heading] = []
    at = characters = 0
    for place, level, title in sorted(marks, key=lambda mark: mark[0]):
        characters += len(data[at:place].decode("utf-8", "surrogatepass"))
        at = place
        if headings and headings[-1].at == characters:
            headings.pop()
        headings.append(Heading(characters, level, title))
    return headings


def _walk(root: Node, level: int, marks: list[tuple[int, int, str]]) -> None:
    """Collect (byte, level, title) of definitions, and of where other code goes on after one."""
    pending = [(child, level, 0) for child in reversed(root.named_children)]
    while pending:
        node, level, depth = pending.pop()
        inner = _definition(node)
        if inner is None:
            if depth < _BETWEEN:
                pending += [(child, level, depth + 1) for child in reversed(node.named_children)]
            continue
        marks.append((_begin(node), level, _title(inner)))
        follows = node.next_named_sibling
        if follows is not None:
            marks.append((follows.start_byte, level, ""))
        if _CONTAINERS.fullmatch(inner.type):
            pending += [(child, level + 1, 0) for child in reversed(inner.named_children)]


def _definition(node: Node) -> Node | None:
    """The definition that a node is, or that its decorators, export or template parameters stand before."""
    inner: Node | None = node
    while inner is not None and inner.type in _WRAPPERS:
        inner = inner.named_children[-1] if inner.named_children else None
    if inner is None or _CONTAINERS.fullmatch(inner.type) or _LEAVES.fullmatch(inner.type):
        return inner
    if inner.type == "lexical_declaration":
        values = ((child, child.child_by_field_name("value")) for child in inner.named_children)
        return next((child for child, value in values if value and value.type in _FUNCTIONS), None)
    return None


def _begin(node: Node) -> int:
    """The byte where a definition begins, with the comments on the lines right above it."""
    first = node
    while (above := first.prev_named_sibling) is not None and "comment" in above.type:
        before = above.prev_named_sibling
        ends = before.end_point if before is not None else None
        trails = ends is not None and ends.row == above.start_point.row and ends.column > 0
        if trails or above.end_point.row < first.start_point.row - 1:
            break
        first = above
    return first.start_byte


def _title(node: Node) -> str:
    """The name of a definition: in C it lies within a declarator, in Go within the type's own node."""
    found: Node | None = _name(node) or next(filter(None, map(_name, node.named_children)), None)
    while found is not None and found.child_count:
        node = found
        found = _name(node)
    text = ((found or node).text or b"").decode("utf-8", "replace")
    return text.partition("\n")[0].rstrip("{ ")[:80]


def _name(node: Node) -> Node | None:
    return next((inner for field in _NAMES if (inner := node.child_by_field_name(field))), None)
