"""Tables of text line up, and end where their text ends."""

from __future__ import annotations

from catalogs.text_table import markdown_table, text_table


def test_columns_line_up_and_lines_have_no_trailing_spaces() -> None:
    assert text_table([["", "small", "raw"], ["mAP", "0.5", "10"], ["note"]], "<>") == (
        "      small  raw\nmAP     0.5   10\nnote"
    )


def test_a_markdown_table_has_a_rule_below_its_head() -> None:
    assert markdown_table(["band", "n"], [("u", 1)]) == "| band | n |\n| --- | --- |\n| u | 1 |"
