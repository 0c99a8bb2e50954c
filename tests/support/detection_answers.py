"""Outputs of a detector that knows the truth."""

import torch

HEADS = {"centre": "centrenet", "grid": "detectnet"}
"""The network of the zoo for each head."""


def inverse_softplus(value):
    return value.double().expm1().clamp_min(1e-12).log().float()


def perfect(task, targets, confidence=8.0):
    """Outputs of a network that knows the truth, for the strides of the zoo."""
    side = task.input_shape[1]
    strides = (8, 16) if task.head.name == "centre" else (8,)
    count, classes = len(targets["labels"]), len(task.classes)
    outputs = []
    for stride in strides:
        cells = side // stride
        outputs.append(torch.full((count, classes, cells, cells), -confidence))
        outputs.append(torch.zeros(count, 4, cells, cells))
        if task.head.name == "centre":
            outputs.append(torch.full((count, 1, cells, cells), -confidence))
    predictions = task.head.predictions(tuple(outputs), classes, (side, side))
    rows = task.head.assigned(predictions, targets["boxes"], targets["labels"])
    start = 0
    each = len(task.head.channels)
    for level, stride in enumerate(strides):
        cells = side // stride
        for image in range(count):
            for cell in range(cells * cells):
                row = int(rows[image, start + cell])
                if row < 0:
                    continue
                i, j = divmod(cell, cells)
                here = torch.tensor([(j + 0.5) * stride, (i + 0.5) * stride])
                box = targets["boxes"][image, row]
                outputs[each * level][image, targets["labels"][image, row], i, j] = confidence
                if each == 3:
                    away = torch.cat([here - box[:2], box[2:] - here]) / stride
                    outputs[1 + 3 * level][image, :, i, j] = inverse_softplus(away.clamp_min(1e-3))
                    central = (torch.minimum(away[:2], away[2:]) / torch.maximum(away[:2], away[2:])).clamp(
                        0.01
                    )
                    outputs[2 + 3 * level][image, 0, i, j] = central.prod().sqrt().clamp(max=0.99).logit()
                else:
                    outputs[1 + 2 * level][image, :, i, j] = (box - here.repeat(2)) / stride
        start += cells * cells
    return tuple(outputs)
