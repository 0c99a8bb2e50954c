import pytest
import torch
import torch.nn.functional as F

from edgesynth.errors import DataError, InputError
from edgesynth.tasks import Augmentation, Distillation, Task


def gather(batches):
    batches = list(batches)
    return torch.cat([b.inputs for b in batches]), torch.cat([b.targets for b in batches])


def _fingerprints(inputs):
    return (inputs.double() * torch.arange(1.0, 785).view(1, 1, 28, 28)).sum((1, 2, 3)).sort().values


def test_it_fulfils_the_protocol(clothing):
    assert isinstance(clothing, Task)


def test_one_pass_reads_every_sample_once(clothing):
    inputs, targets = gather(clothing.batches("train", batch_size=50))
    shuffled, shuffled_targets = gather(clothing.batches("train", batch_size=50, shuffle=True, seed=3))
    assert len(targets) == clothing.size("train") == 256
    assert not torch.equal(targets, shuffled_targets)
    assert torch.equal(targets.bincount(), shuffled_targets.bincount())
    assert torch.equal(_fingerprints(inputs), _fingerprints(shuffled))


def test_batch_sizes_differ_by_at_most_one(clothing):
    sizes = [len(batch.targets) for batch in clothing.batches("train", batch_size=100)]
    assert sum(sizes) == 256
    assert len(sizes) == 3
    assert max(sizes) - min(sizes) <= 1


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(clothing):
    def one(seed):
        return gather(clothing.batches("train", batch_size=64, seed=seed, shuffle=True, augment=True))[0]

    assert torch.equal(one(5), one(5))
    assert not torch.equal(one(5), one(6))


def test_a_limit_without_shuffle_is_a_fixed_representative_subset(clothing):
    _, targets = gather(clothing.batches("validation", batch_size=32, limit=100))
    assert targets.bincount().tolist() == [10] * 10
    assert torch.equal(targets, gather(clothing.batches("validation", batch_size=7, limit=100))[1])


def test_training_inputs_are_normalised_by_training_statistics(clothing):
    inputs, _ = gather(clothing.batches("train", batch_size=64))
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-4)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_loss_is_cross_entropy_with_smoothing(make_task):
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    plain = make_task().loss(logits, targets)
    smooth = make_task(label_smoothing=0.2).loss(logits, targets)
    uniform = -F.log_softmax(logits, 1).mean(1).mean()
    assert plain == pytest.approx(F.cross_entropy(logits, targets).item())
    assert smooth == pytest.approx((0.8 * plain + 0.2 * uniform).item())


def test_distillation_at_weight_zero_is_the_plain_loss(make_task):
    task = make_task(distillation=Distillation(weight=0.0), label_smoothing=0.1)
    logits, teacher, targets = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert torch.equal(task.distillation_loss(logits, teacher, targets), task.loss(logits, targets))


def test_distillation_at_weight_one_is_scaled_divergence_from_the_teacher(make_task):
    task = make_task(distillation=Distillation(weight=1.0, temperature=2.0))
    logits, teacher, targets = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    p, q = (teacher / 2).softmax(1), (logits / 2).softmax(1)
    expected = 4.0 * (p * (p / q).log()).sum(1).mean()
    assert float(task.distillation_loss(logits, teacher, targets)) == pytest.approx(float(expected), rel=1e-5)
    assert float(task.distillation_loss(teacher, teacher, targets)) == pytest.approx(0, abs=1e-6)


def test_scoring_changes_neither_mode_nor_state(clothing, small_net):
    small_net.train()
    before = {key: value.clone() for key, value in small_net.state_dict().items()}
    clothing.score(small_net, "test", limit=64)
    assert small_net.training
    assert all(torch.equal(value, before[key]) for key, value in small_net.state_dict().items())


def test_outputs_of_another_shape_are_refused_with_both_shapes(make_task):
    with pytest.raises(InputError, match=r"\[batch, 3\].*shape \(2, 4\)"):
        make_task().loss(torch.zeros(2, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": ()}, "train split is empty"),
        ({"test": ()}, "test split is empty"),
        ({"train": (1, 1, 1)}, "one class"),
        ({"validation": (0, 3)}, "labels run from 0 to 3"),
    ],
)
def test_data_nobody_can_learn_from_are_refused(make_task, options, message):
    with pytest.raises(DataError, match=message):
        make_task(**options)


def test_splits_of_different_shapes_are_refused(make_task):
    from edgesynth.tasks import ClassificationTask, TensorSamples

    labels = torch.tensor([0, 1])
    small = TensorSamples(torch.zeros(2, 1, 8, 8), labels)
    large = TensorSamples(torch.zeros(2, 1, 9, 9), labels)
    with pytest.raises(DataError, match="test samples have shape"):
        ClassificationTask("mixed", train=small, validation=small, test=large, classes=("a", "b"))


def test_vectors_are_classified_too_but_not_varied_like_images(make_task):
    task = make_task(shape=(5,))
    assert next(task.batches("train", batch_size=4)).inputs.shape == (4, 5)
    assert len(task.normalization.mean) == 5
    with pytest.raises(InputError, match="augmentation varies images"):
        make_task(shape=(5,), augmentation=Augmentation(flip=True))


def test_unknown_splits_and_impossible_sizes_are_refused(make_task):
    with pytest.raises(InputError, match="unknown split 'val'"):
        make_task().size("val")
    with pytest.raises(InputError, match="at least 1"):
        make_task().batches("train", batch_size=0)
