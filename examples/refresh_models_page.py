"""Writes the figures of weights.json into docs/models.md, after weights have come or changed.

    python examples/refresh_models_page.py

Rows are changed, not added: give new weights a row of any figures first. Prints README's table.
"""

import re
from pathlib import Path

from gatedpose.catalogue import model_table, stored_rows, weights_table, word_table

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
PARTS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")


def refreshed_row(row: str, limbs: bool) -> str:
    """A row of the scores by joint as the table of weights has it; `limbs` says which columns."""
    name, split = re.findall(r"^\| ([\w.]+), ([\w-]+) \|", row)[0]
    score = weights_table()[name].scores[split]
    names = (*PARTS, "Limbs", "Total", "OKS") if limbs else (*PARTS, "Total")
    found = score["columns"]
    cells = [f"{found[key]:.2f}" if key in found else "-" for key in names]
    command = f"`{score['command']}`"
    return f"| {' | '.join([f'{name}, {split}', str(score['people']), *cells, command])} |"


def refreshed_page(page: str) -> str:
    """The page with the figures of the table of weights."""
    table = model_table(stored_rows()).strip()
    page = re.sub(r"(?ms)^\| model \| parameters .*?(?=\n\n)", lambda _: table, page, count=1)
    lines, limbs = [], False
    for line in page.splitlines():
        if line.startswith("| weights | people"):
            limbs = "Limbs" in line
        is_row = re.match(r"\| gated_hg_\w+\.\w+, ", line)
        lines.append(refreshed_row(line, limbs) if is_row else line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """See the top of the file."""
    PAGE.write_text(refreshed_page(PAGE.read_text("utf-8")), "utf-8")
    print(word_table())


if __name__ == "__main__":
    main()
