"""Folders of pictures with boxes in every format: a dark picture each, with one bright box or none."""

import json

import numpy as np
from PIL import Image

SPLITS = ("train", "validation", "test")
MODES = ("RGB", "L", "RGBA", "I;16")


def scene(index, width=80, height=40):
    """A dark picture with one bright box in it, and the box."""
    x, y = 4 + 5 * (index % 10), 3 + 2 * (index % 7)
    box = (x, y, x + 20, y + 16)
    pixels = np.full((height, width), 20, dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 240
    return pixels, box


def save(path, pixels, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels).convert(mode).save(path)


def name_of(index):
    return f"{index:03}.png"


def coco(root, count=40, files=("all",)):
    for number, stem in enumerate(files):
        images, annotations = [], []
        for index in range(number, count, len(files)):
            pixels, (x, y, x1, y1) = scene(index)
            save(root / "images" / name_of(index), pixels, MODES[index % 4])
            images.append({"id": index, "file_name": name_of(index), "width": 80, "height": 40})
            if index % 5:
                annotations.append(
                    {
                        "id": index + 1,
                        "image_id": index,
                        "category_id": 7 if index % 2 else 3,
                        "bbox": [x, y, x1 - x, y1 - y],
                        "iscrowd": 0,
                    }
                )
        data = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 7, "name": "odd"}, {"id": 3, "name": "even"}],
        }
        path = root / "annotations" / f"instances_{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data))
    return root


def xml(index, box, label, extra=""):
    x0, y0, x1, y1 = box
    return (
        f"<annotation>{extra}<filename>{name_of(index)}</filename>"
        "<size><width>80</width><height>40</height><depth>3</depth></size>"
        f"<object><name>{label}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object></annotation>"
    )


def voc(root, count=40, lists=False):
    (root / "Annotations").mkdir(parents=True)
    for index in range(count):
        pixels, box = scene(index)
        save(root / "JPEGImages" / name_of(index), pixels, MODES[index % 4])
        if index % 5:
            (root / "Annotations" / f"{index:03}.xml").write_text(
                xml(index, box, "odd" if index % 2 else "even")
            )
    if lists:
        (root / "ImageSets" / "Main").mkdir(parents=True)
        for number, split in enumerate(("train", "val", "test")):
            stems = [f"{index:03}" for index in range(number, count, 3)]
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def yolo(root, count=40, splits=None, names="names: [even, odd]\n"):
    for index in range(count):
        pixels, (x0, y0, x1, y1) = scene(index)
        part = splits[index % len(splits)] if splits else ""
        save(root / "images" / part / name_of(index), pixels, MODES[index % 4])
        labels = root / "labels" / part
        labels.mkdir(parents=True, exist_ok=True)
        if index % 5:
            line = f"{index % 2} {(x0 + x1) / 160} {(y0 + y1) / 80} {(x1 - x0) / 80} {(y1 - y0) / 40}\n"
            (labels / f"{index:03}.txt").write_text(line)
    (root / "data.yaml").write_text(names)
    return root


MAKERS = {"coco": coco, "voc": voc, "yolo": yolo}
