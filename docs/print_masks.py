"""Prints the tables of docs/masks.md, from the rows that the code reads."""

from mavos_deploy.runtime.masks.kinds import KINDS
from mavos_deploy.runtime.masks.opening import FORMATS

print("| picture | how it is read |")
print("|---|---|")
for kind in KINDS:
    print(f"| {kind.name} | {kind.rule} |")
print()
print("| format | ending | what is read | how objects are told |")
print("|---|---|---|---|")
for row in sorted(FORMATS, key=lambda row: row.name.lower()):
    print(f"| {row.name} | `{row.suffix}` | {row.rule} | {row.objects} |")
