"""Prints the tables of results in docs/formats.md, from the rows that the code reads."""

from mavos_deploy.runtime.media.results import RESULTS, Place, ResultKind, Trait


def written(kind: ResultKind) -> str:
    """What a kind writes, with its options, as a cell of a table."""
    words = [f"`{word}` ({text})" for word, text in kind.options.items()]
    if kind.colour:
        words.append(f"a colour as `RRGGBB` (`{kind.colour}`)")
    options = f". Options: {', '.join(words)}" if words else ""
    extra = f". Needs `.[{kind.needs}]`" if kind.needs else ""
    return f"{kind.help}{options}{extra}"


def place(kind: ResultKind) -> str:
    """What the path of a kind is."""
    return f"`{kind.suffix}`" if kind.place is Place.FILE else kind.place.value


masks = [kind for kind in RESULTS.values() if kind.masks]
others = [kind for kind in RESULTS.values() if not kind.masks]

for kinds in (masks, others):
    print("| kind | path | what is written |")
    print("|---|---|---|")
    for kind in kinds:
        print(f"| `{kind.name}` | {place(kind)} | {written(kind)} |")
    print()
print(f"| kind | {' | '.join(Trait)} |")
print("|---|" + "---|" * len(Trait))
for kind in masks:
    cells = ["yes" if trait in kind.holds else "" for trait in Trait]
    print(f"| `{kind.name}` | {' | '.join(cells)} |")
