"""Prints the table of backends in docs/run.md, from the rows that the code reads."""

from mavos_deploy.runtime.backends.table import (
    AUTO,
    BACKENDS,
    DEFAULT_BACKEND,
    BackendKind,
    auto_order,
)


def needs(kind: BackendKind) -> str:
    """Everything that a backend needs, as a cell of the table."""
    built = f"engines by `mavos-build --library {kind.engine_library}`"
    parts = [built if kind.engine_library else "", f"`.[{kind.extra}]`", kind.needs]
    return ", ".join(part for part in parts if part)


print("| name | arithmetic | needs |")
print("|---|---|---|")
for kind in BACKENDS.values():
    default = " (the default)" if kind.name == DEFAULT_BACKEND else ""
    print(f"| `{kind.name}`{default} | {kind.arithmetic} | {needs(kind)} |")
order = ", ".join(f"`{kind.name}`" for kind in auto_order())
print(f"| `{AUTO}` | the bundle's own | the first that works here of {order} |")
