"""The names of the published methods, known without importing anything heavy: a misspelt one is refused at once."""

from unvanish.core.errors import RecipeError, did_you_mean

# method → the kinds of its remedies
METHOD_REMEDIES: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "1a": ("weight-increasing",),
    "1b": ("weight-increasing",),
    "2": ("better-activation",),
    "3": ("better-optimizer",),
    "4a": ("normalize-inside",),
    "4a-affine": ("normalize-inside",),
    "4b": ("normalize-inside",),
    "5": ("skip-connection",),
    "6": ("train-some-layers",),
    "centred-critical": ("centred-critical-init",),
}


def methods_named(words: list[str]) -> list[str]:
    """Method ids from ids and remedy names, in the published order; all for an empty list.

    >>> methods_named(["5", "weight-increasing"])
    ['1a', '1b', '5']
    """
    kinds = {kind for kinds in METHOD_REMEDIES.values() for kind in kinds}
    if set(words) - kinds - METHOD_REMEDIES.keys():
        kinds |= _all_kinds()
    for word in words:
        if word not in METHOD_REMEDIES and word not in kinds:
            every = f"; there are {', '.join(METHOD_REMEDIES)}, and their remedies by name, such as skip-connection"
            guess = did_you_mean(word, [*METHOD_REMEDIES, *kinds])
            raise RecipeError(f"no method or remedy is called '{word}'{guess or every}")
    return [
        name
        for name, kinds in METHOD_REMEDIES.items()
        if not words or name in words or any(kind in words for kind in kinds)
    ]


def _all_kinds() -> set[str]:
    from unvanish.remedies import ALL  # takes torch's time to import, which only an unknown name is worth

    return {remedy.kind for remedy in ALL}


def seeds_in(text: str) -> list[int]:
    """The seeds of `42,43`, each once."""
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(f"--seeds takes whole numbers with commas between them, as 42,43; not '{text}'") from None
    if not all(0 <= seed < 2**63 for seed in seeds):
        raise RecipeError(f"--seeds takes numbers from 0 to 2⁶³ − 1, not '{text}'")
    return list(dict.fromkeys(seeds))
