"""Both executions over one large file with conflicts everywhere."""

from pathlib import Path

from tests.service.bulk_world import conflicted_sample, linked_in_bulk, linked_online


def test_twenty_thousand_records_with_many_conflicts_come_out_the_same(tmp_path: Path):
    path = conflicted_sample(tmp_path / "sample", 20_000, 6)
    online = linked_online(path, tmp_path)

    bulk = linked_in_bulk(path, tmp_path / "out")

    assert bulk["persons"] == online["persons"]
    assert bulk["edges"] == online["edges"]
    assert bulk["tasks"] == online["tasks"]
    assert bulk["report"]["components_in_order"] > 20
