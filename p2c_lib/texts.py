"""Texts as people mean them: forms in which two spellings of one name, phone number or address are the same.

Pure: a series or an expression in, the same out; nothing here reads a file or asks a service.
"""

from __future__ import annotations

import polars as pl

__all__ = ["digits", "plain"]

# What Unicode does not take apart into a letter and a mark.
_SPELT = {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "ð": "d", "þ": "th"}


def plain(text: pl.Expr) -> pl.Expr:
    """A text without case, accents, punctuation and surplus blanks: ``" Müller-Lüdenscheidt, GmbH"`` becomes
    ``muller ludenscheidt gmbh``.

    Args:
        text: String.

    Returns:
        String: letters and digits in words with one blank between them; the empty text for null and for a text that
        has neither.
    """
    bare = text.fill_null("").str.normalize("NFKD").str.replace_all(r"\p{M}+", "").str.to_lowercase()
    return (
        bare.str.replace_many(list(_SPELT), list(_SPELT.values()))
        .str.replace_all(r"['’`´.]", "")  # O'Brien is OBrien, S.A. is SA
        .str.replace_all(r"[^\p{L}\p{N}]+", " ")
        .str.strip_chars()
    )


def digits(text: pl.Expr) -> pl.Expr:
    """The digits of a text and nothing else: ``+49 (0)89 / 123-45`` becomes ``4908912345``.

    Args:
        text: String.

    Returns:
        String; the empty text for null.
    """
    return text.fill_null("").str.replace_all(r"\D+", "")
