import gzip

import pytest
import torch

from edgesynth.errors import DataError
from edgesynth.tasks.datasets.idx import read_idx, write_idx


def test_damaged_idx_files_are_refused_with_the_reason(tmp_path):
    good = tmp_path / "good.gz"
    write_idx(good, torch.arange(6, dtype=torch.uint8).view(2, 3))
    assert torch.equal(read_idx(good), torch.arange(6, dtype=torch.uint8).view(2, 3))
    plain = gzip.decompress(good.read_bytes())
    cases = {
        "cut.gz": (good.read_bytes()[:-12], "cannot read"),
        "short": (plain[:-1], "holds 5 values"),
        "header": (plain[:6], "ends inside its header"),
        "text": (b"hello world", "not an idx file"),
        "empty": (b"", "not an idx file"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_idx(path)
