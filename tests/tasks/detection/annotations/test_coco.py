from box_folders import SPLITS, coco

from edgesynth.tasks import load_boxes


def sizes(task):
    return [task.size(split) for split in SPLITS]


def test_the_case_of_the_ending_does_not_matter(tmp_path):
    root = coco(tmp_path)
    (root / "annotations" / "instances_all.json").rename(root / "annotations" / "Instances_All.JSON")
    assert sum(sizes(load_boxes(root, size=32))) == 40
