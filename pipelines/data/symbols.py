"""Symbols: the one rule for what a symbol is, in files, in the bars store and over HTTP.

Exchanges and platforms write `BTC/USDT`, `M&M.NS`, `BRK.B`, `^GSPC`, `EURUSD=X`, `$SPX`,
`ES 12-24`. Two symbols are the same if their texts are: `spy` is not `SPY`. No file is called by a
symbol. Letters that Unicode can write in two ways are taken in one of them, so no two symbols look
alike.
"""

import re

LONGEST_SYMBOL = 64
_LETTER = (
    r"A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0388-\u038a\u038e-\u03ff\u0400-\u0482"
    r"\u048a-\u052f\u05d0-\u05ea\u0621-\u064a\u0904-\u0928\u0e01-\u0e30\u3041-\u3096\u30a1-\u30fa"
    r"\u4e00-\u9fff\uac00-\ud7a3"
)
_SIGN = r"#$&'()*+/:=@^_\-"
SYMBOL_PATTERN = rf"^(?:\.?[{_SIGN}])*\.?[{_LETTER}](?: *\.? *[{_SIGN}{_LETTER}])*\.?!?$"
"""Signs, a letter or digit, then signs, letters, digits and spaces inside. No two dots together,
and no comma, which parts the symbols of a list. The same in Python, Rust and ECMAScript."""
A_SYMBOL = (
    f"at most {LONGEST_SYMBOL} letters, digits, spaces inside and signs as in M&M.NS, BTC/USDT, "
    "EURUSD=X, $SPX, ES 12-24"
)
"""The rule in words, for messages."""

_SYMBOL = re.compile(SYMBOL_PATTERN)


def is_symbol(text: str) -> bool:
    """Return whether a text is a symbol."""
    return len(text) <= LONGEST_SYMBOL and _SYMBOL.fullmatch(text) is not None
