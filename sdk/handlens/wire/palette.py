"""The names of colours: eleven words, what each looks like, and the words that people use for them.

The eleven are the basic colour terms that every language with enough of them has (Berlin and Kay, "Basic Color Terms",
1969). What they look like is given by prototypes: the basic keywords of CSS, and of the ISCC-NBS system the centroids
of the blocks that are named by the word (Kelly and Judd, "Color: Universal Language and Dictionary of Names", NBS
Special Publication 440, 1976). Several prototypes a word, because a word covers an odd-shaped part of the colours: deep
and pale red are both red, pale orange is not orange but brown or pink.

>>> colour_word("burgundy"), colour_word("gray"), colour_word("apple")
('red', 'grey', None)
"""

from __future__ import annotations

__all__ = ["COLOURS", "PROTOTYPES", "colour_word"]

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey", "black")

_PROTOTYPES = {
    "red": "ff0000 800000 be0032 bc3f4a 841b2d ab4e52 722f37 c80000 aa381e 9e4732 78184a 3f1728 b22222",
    "orange": "ffa500 f38400 fd943f ed872d be6516 fab57f d99058 e25822 d9603b cb6d51 f6a600",
    "yellow": "ffff00 f3c300 fada5e d4af37 af8d13 f8de7e c9ae5d ab9144 f3e5ab dcd300 e9e450 ffc14f",
    "green": "008000 00ff00 808000 8db600 bdda57 7e9f2e 467129 8a9a5b 27a64c 83d37d 44944a 00622d 679267 355e3b "
    "008856 3eb489 007959 00543d 8ed1b2 6aab8e 3b7861 1b4d3e 5e716a 665d1e 867e36 4a5d23 515744 2b3d26 00a693",
    "blue": "0000ff 000080 00a1c2 4997d0 0067a5 00416a a1caf1 70a3cc 436b95 00304e 91a3b0 536878 36454f 30267a 6c79b8 "
    "545aa7 272458 b3bce2 8791bf 4e5180 252440 239eba 0085a1 66aabc 367588 00ffff 008080",
    "purple": "800080 9a4eae d399e6 875692 602f6b d5badb b695c0 86608e 563c5c 796878 50404d 9065ca 7e73b8 604e97 "
    "32174d 8c82b6 604e81 2f2140 870074 9e4f88 702963 915f6d 5d3954",
    "pink": "ff00ff ffb5ba ea9399 e4717a f9ccca dea5a4 c08081 ffc8d6 e68fac de6fa1 efbbcc d597ae c17e91 ffb7a5 f99379 "
    "e66761 f4c2c2 d9a6a9 c48379 ce4676 ffc0cb ff69b4",
    "brown": "80461b 593319 a67b5b 6f4e37 422518 958070 635147 996515 654522 c19a6b 826644 4b3621 ae9b82 7e6d5a 483c32 "
    "882d17 a87c6d 79443b 674c47 ae6938 c2b280 a18f60 967117 6c541e",
    "white": "ffffff f2f3f4 f0ead6 e9e9ed dfede8 eae3e1 dedede",
    "grey": "808080 c0c0c0 b9b8b5 848482 555555 c1b6b3 8f817f bfb8a5 8e8279 5b504f b4bcc0 81878b 51585e bfb9bd 8b8589 "
    "7d8984",
    "black": "000000 222222 28201c 202428 24212b 1e2321",
}
PROTOTYPES: tuple[tuple[str, tuple[int, int, int]], ...] = tuple(
    (name, (int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)))
    for name in COLOURS
    for code in _PROTOTYPES[name].split()
)
"""A name and an sRGB triple 0..255 each."""

_WORDS = {
    **{name: name for name in COLOURS},
    **dict.fromkeys(("crimson", "scarlet", "ruby", "burgundy", "maroon", "vermilion", "reddish"), "red"),
    **dict.fromkeys(("apricot-coloured", "tangerine-coloured", "amber", "rust"), "orange"),
    **dict.fromkeys(("golden", "yellowish", "mustard-coloured"), "yellow"),
    **dict.fromkeys(("emerald", "greenish", "khaki", "olive-green"), "green"),
    **dict.fromkeys(("navy", "azure", "turquoise", "teal", "cyan", "indigo", "bluish"), "blue"),
    **dict.fromkeys(("violet", "lilac", "mauve", "lavender-coloured", "magenta"), "purple"),
    **dict.fromkeys(("fuchsia", "pinkish"), "pink"),
    **dict.fromkeys(("beige", "tan", "brownish", "chocolate-coloured"), "brown"),
    **dict.fromkeys(("ivory", "whitish", "cream-coloured"), "white"),
    **dict.fromkeys(("gray", "greyish", "silver", "silvery", "charcoal"), "grey"),
    **dict.fromkeys(("jet-black", "blackish"), "black"),
}


def colour_word(word: str) -> str | None:
    """The basic term for a lower-case word, or None when the word is not a colour before it is anything else.

    "orange" is a colour here; whoever means the fruit has photographed it.
    """
    return _WORDS.get(word)
