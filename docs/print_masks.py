"""Prints the table of mask pictures in docs/masks.md, from the rows that the code reads."""

from mavos_deploy.runtime.masks.kinds import KINDS

print("| picture | how it is read |")
print("|---|---|")
for kind in KINDS:
    print(f"| {kind.name} | {kind.rule} |")
