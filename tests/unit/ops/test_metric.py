"""The table of metrics: names once, the page is the table's, counters have their ending."""

from pathlib import Path

from ops.metric import METRICS, counters_of, metric_of, page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_is_made_from_the_table() -> None:
    assert (DOCS / "metrics.md").read_text() == page(), "run: python -m ops.metric docs/metrics.md"


def test_names_come_once_and_texts_are_no_repetition() -> None:
    names = [one.name for one in METRICS]
    assert len(names) == len(set(names))
    assert [one.name for one in METRICS if one.text.lower().replace(" ", "_") == one.name] == []


def test_a_rule_s_counter_belongs_to_the_row_of_all_rules() -> None:
    for name, row in (
        ("door_refused_flood_total", "door_refused_RULE_total"),
        ("refused_frozen_total", "refused_RULE_total"),
    ):
        found = metric_of(name)
        assert found is not None
        assert found.name == row
    assert metric_of("made_up") is None


def test_counters_without_labels_are_shown_from_the_start() -> None:
    assert "inj_msgs_total" in counters_of("gateway-3")
    assert "delivered_recips_total" in counters_of("delivery-queue")
    assert counters_of("console") == []
    assert "smtp_refused_total" not in counters_of("gateway-0")
