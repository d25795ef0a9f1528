"""An S3 endpoint of keys that nobody stored: `ListObjectsV2` alone, over HTTP, for listings of a million objects."""

from __future__ import annotations

import bisect
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, urlsplit

REPO = Path(__file__).resolve().parents[3]
PAGE = 1000
_LAST = "\U0010ffff"


def key(number: int) -> str:
    """Keys in three levels, ascending: 50 objects to a day, 28 days to a month."""
    day, one = divmod(number, 50)
    month, day = divmod(day, 28)
    return f"data/month={month:05d}/day={day:02d}/part-{one:03d}.jpg"


class Keys:
    """The first `count` keys as S3 lists them."""

    def __init__(self, count: int) -> None:
        self.range = range(count)

    def page(self, prefix: str, delimiter: str, after: str) -> tuple[list[int], list[str], str | None]:
        """Numbers of keys, common prefixes, and where the next page starts."""
        at = bisect.bisect_right(self.range, after, key=key)
        at = max(at, bisect.bisect_left(self.range, prefix, key=key))
        numbers: list[int] = []
        prefixes: list[str] = []
        while at < len(self.range) and (name := key(at)).startswith(prefix):
            if len(numbers) + len(prefixes) == PAGE:
                return numbers, prefixes, (prefixes[-1] + _LAST) if prefixes else key(at - 1)
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                prefixes.append(prefix + head + delimiter)
                at = bisect.bisect_left(self.range, prefixes[-1] + _LAST, key=key)
            else:
                numbers.append(at)
                at += 1
        return numbers, prefixes, None


def xml(keys: Keys, query: dict[str, str]) -> bytes:
    """The body of an answer to `ListObjectsV2`."""
    after = query.get("continuation-token") or query.get("start-after", "")
    numbers, prefixes, more = keys.page(query.get("prefix", ""), query.get("delimiter", ""), after)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        f"<EncodingType>url</EncodingType><IsTruncated>{'true' if more else 'false'}</IsTruncated>",
        f"<NextContinuationToken>{more}</NextContinuationToken>" if more else "",
        *(
            f"<Contents><Key>{quote_plus(key(n), safe='/')}</Key>"
            f"<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;{n:032x}&quot;</ETag>"
            f"<Size>{n % 100_000 + 1}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for n in numbers
        ),
        *(f"<CommonPrefixes><Prefix>{quote_plus(p, safe='/')}</Prefix></CommonPrefixes>" for p in prefixes),
        "</ListBucketResult>",
    ]
    return "".join(parts).encode()


def serve(count: int) -> None:
    """Serve until stdin closes; the port is printed first."""
    keys = Keys(count)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = xml(keys, {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()})
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        server.shutdown()


@contextmanager
def listing_server(count: int) -> Iterator[str]:
    """The endpoint's URL, in a process of its own."""
    command = [sys.executable, "-m", "tests.operators.sources.synthetic", str(count)]
    with subprocess.Popen(
        command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
