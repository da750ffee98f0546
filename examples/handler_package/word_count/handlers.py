"""Two task types: one that waits for things (async), one that computes (in a thread)."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec

from tallystick import Context, TaskFailure, handler

PAGE_BYTES_MAX = 5 * 2**20
WORDS_SHOWN = 10


class CountWords(msgspec.Struct, frozen=True, kw_only=True):
    """The schema of the input: what does not fit it is refused before anything is held."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=50_000)]


class CountPage(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[str, msgspec.Meta(pattern="^https?://", max_length=2_000)]


class WordCount(msgspec.Struct, frozen=True, kw_only=True):
    """The schema of the result: `top` holds the most frequent words and how often they came."""

    words: int
    top: dict[str, int]


def count(text: str) -> WordCount:
    words = Counter(text.lower().split())
    return WordCount(words=words.total(), top=dict(words.most_common(WORDS_SHOWN)))


@handler("count_words", price_credits=1, attempt_seconds_max=30)
def count_words(task: CountWords, _context: Context) -> WordCount:
    """Count the words of a text."""
    result = count(task.text)
    if result.words == 0:
        # The user reads this sentence, and gets the credit back.
        raise TaskFailure("param_error", "There are no words in this text.")
    return result


@handler("count_page", price_credits=2, stages={"fetched": 50}, attempt_seconds_max=60)
async def count_page(task: CountPage, context: Context) -> WordCount:
    """Count the words of a web page."""
    page = context.folder / "page"
    # Guarded: no address inside the network, no more bytes than this, nothing kept in memory.
    await context.fetch(task.url, page, size_bytes_max=PAGE_BYTES_MAX)
    # A stage is a fact in the task's history; progress in between is light.
    await context.stage("fetched")
    return count(page.read_text(errors="replace"))


HANDLERS = [count_words, count_page]
