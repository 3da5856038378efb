"""Which prescriptions can be made with this model: each is tried on copies, with a pass over a few samples."""

from dataclasses import replace

import torch
from torch import nn

from unvanish.core.finding import Finding, Fix, Prescription
from unvanish.core.setup import Loss
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.repair.change import Change
from unvanish.diagnosis.repair.data import sliced
from unvanish.train.batches import Batch

FEW = 16  # samples


def with_applicable(
    diagnosis: Diagnosis, model: nn.Module, optimizer: torch.optim.Optimizer | None, batch: Batch, loss: Loss
) -> Diagnosis:
    """The same without prescriptions of the primary finding that make no sense for this model, or do not run."""
    first = diagnosis.primary
    if first is None:
        return diagnosis
    few = sliced(batch, 0, FEW) if batch.size > FEW else batch
    steps = optimizer or torch.optim.SGD(model.parameters(), 0.01)
    runs = tuple(one for one in first.prescriptions if _runs(one, model, steps, few, loss))
    changed: Finding = replace(first, prescriptions=runs)
    return replace(diagnosis, findings=tuple(changed if one is first else one for one in diagnosis.findings))


def _runs(one: Prescription, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, loss: Loss) -> bool:
    if isinstance(one, str) or (isinstance(one, Fix) and one.where == "by hand"):
        return True
    try:
        treated = Change((one,)).made(model, optimizer, loss, batch.input, seed=0)
        with torch.enable_grad():
            treated.loss_fn(batch.output_of(treated.model), batch.target).backward()
        treated.optimizer.step()
    except Exception:  # of whatever users' models are made of
        return False
    return True
