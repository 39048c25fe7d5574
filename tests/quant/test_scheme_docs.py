"""What docs/scheme.md says runs and is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from landscape.quant.scheme import CHOICES, PRESETS

TEXT = (Path(__file__).parents[2] / "docs" / "scheme.md").read_text()


def test_the_example_of_comparing_logits_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(block, "docs/scheme.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "['input.output', 'patch_embed.proj.weight', 'patch_embed.proj.output']"
    difference = float(printed[1].rpartition(" ")[2])
    assert difference > 0
    rates = {line.split()[0]: float(line.split()[1]) for line in printed[2:]}
    assert set(rates) == {"blocks.5.attn.qkv", "blocks.5.attn.softmax", "head"} and max(rates.values()) > 0


def test_every_part_of_a_scheme_with_all_its_choices_and_every_preset_is_described() -> None:
    for part, choices in CHOICES.items():
        (line,) = re.findall(rf"^\| `--{part.replace('_', '-')}` \|.*$", TEXT, re.MULTILINE)
        assert all(f"`{choice}`" in line for choice in choices)
    assert all(f"`{name}`" in TEXT for name in PRESETS)


def test_files_that_are_named_exist() -> None:
    root = Path(__file__).parents[2]
    for name in re.findall(r"`((?:landscape|tests)/[\w/]+\.py)`", TEXT):
        assert (root / name).is_file(), name
