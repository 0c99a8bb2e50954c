"""Answers of networks that segment, and what a judge says of them."""

import torch
import torch.nn.functional as F

from edgesynth.tasks import MaskedTensors, SegmentationTask


def logits_of(masks, classes=3):
    """Sure answers."""
    return 20.0 * F.one_hot(masks.long().clamp_max(classes - 1), classes).permute(0, 3, 1, 2).float()


def random_answers(task, split="test", seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch = next(task.batches(split, batch_size=64))
    return batch, torch.randn(len(batch.targets), 3, *batch.targets.shape[1:], generator=generator)


def task_of(masks, classes=("a", "b", "c"), **options):
    """The same masks in every split."""
    masks = torch.as_tensor(masks, dtype=torch.uint8)
    part = MaskedTensors(torch.zeros(len(masks), 1, *masks.shape[1:], dtype=torch.uint8), masks)
    return SegmentationTask("tiny", train=part, validation=part, test=part, classes=classes, **options)


def judged(task, outputs, batch):
    judge = task.judge("test")
    judge.add(outputs, batch)
    return judge.score()
