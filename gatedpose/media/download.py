"""Pictures from the web, for those who name an address: http and https only, within limits."""

import asyncio
import re
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
    try:
        return asyncio.run(asyncio.wait_for(_download(url), SECONDS))
    except asyncio.TimeoutError as error:  # in Python 3.10 no TimeoutError
        raise ImageError(f"{url} takes longer than {SECONDS:g} seconds") from error
    except httpx.UnsupportedProtocol as error:
        raise ImageError(f"{url} leads elsewhere: only http and https are followed") from error
    except httpx.TimeoutException as error:
        raise ImageError(f"{url} does not answer within {SILENCE:g} seconds") from error
    except httpx.HTTPStatusError as error:
        raise ImageError(f"{url} answers {error.response.status_code}, not a picture") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ImageError(f"{url} cannot be had: {error}") from error


async def _download(url: str) -> bytes:
    import httpx

    data = bytearray()
    # Pictures are packed already; unpacked, a few kB could fill the memory.
    plain = {"Accept-Encoding": "identity"}
    client = httpx.AsyncClient(headers=plain, follow_redirects=True, timeout=SILENCE)
    async with client, client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_raw():
            data += part
            if len(data) > LARGEST:
                raise ImageError(f"{url} has more than {LARGEST:,} bytes")
    return bytes(data)
