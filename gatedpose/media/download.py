"""Pictures from the web, for those who name an address: http and https only, within limits."""

import re
import time
from urllib.parse import unquote, urlsplit

from gatedpose.errors import ImageError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
SCHEMES = ("http", "https")
LARGEST = 64 * 2**20  # bytes
LONGEST = 50  # characters of a name; files' names hold 255 bytes
SECONDS, SILENCE = 30.0, 10.0  # for a whole download, and without a byte


def is_url(text: str) -> bool:
    """Whether text is an address of any kind, and no file or pattern."""
    return SCHEME.match(text) is not None


def file_name(url: str) -> str:
    """What a picture from an address may be called: the end of its path, "picture" if none."""
    name = unquote(urlsplit(url).path).rpartition("/")[2][-LONGEST:]
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "picture"


def download(url: str) -> bytes:
    """The bytes at an address of http or https, at most `LARGEST` and within `SECONDS`.

    ImageError for another kind, also by redirection, no success, too many bytes or too long a time.
    """
    import httpx

    if url.partition("://")[0].lower() not in SCHEMES:
        raise ImageError(f"{url} is no address of {' or '.join(SCHEMES)}, nor is there such a file")
    until, parts, length = time.monotonic() + SECONDS, [], 0
    try:
        # Pictures are packed already; unpacked, a few kB could fill the memory.
        plain = {"Accept-Encoding": "identity"}
        with httpx.stream(
            "GET", url, headers=plain, follow_redirects=True, timeout=SILENCE
        ) as answer:
            answer.raise_for_status()
            for part in answer.iter_raw():
                length += len(part)
                parts.append(part)
                if length > LARGEST:
                    raise ImageError(f"{url} has more than {LARGEST:,} bytes")
                if time.monotonic() > until:
                    raise ImageError(f"{url} takes longer than {SECONDS:g} seconds")
    except httpx.UnsupportedProtocol as error:
        raise ImageError(f"{url} leads elsewhere: only http and https are followed") from error
    except httpx.TimeoutException as error:
        raise ImageError(f"{url} does not answer within {SILENCE:g} seconds") from error
    except httpx.HTTPStatusError as error:
        raise ImageError(f"{url} answers {error.response.status_code}, not a picture") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ImageError(f"{url} cannot be had: {error}") from error
    return b"".join(parts)
