"""Every error that Keel raises on purpose. The message names the value, the place and the way out.

KeelError
|- BadInput            an argument, a path or a parameter is wrong
|  `- PlanInvalid      governance/plan.yaml (or a project's own plan) does not load
|- DataRejected        the data contract failed, or the data cannot be read at all
|  |- NoImages         a folder or a production window holds no image at all
|  |- DirtyData        the data differs from the version that DVC has recorded
|  `- UnreadableImage  a file is not one whole still image that Keel can decode
|- AugmentationRejected the audit found that an ingredient of augmentation does harm
|- BackboneRefused     the catalogue's policy does not allow these weights
|- HoldoutSpent        the test set was opened as often as the plan allows
|- EvidenceMissing     a decision needs a file or a figure that is not there
|- DigestMismatch      a file is not the one that was recorded
|- AnswersDiffer       the model as it would be logged answers otherwise than it was judged
|- NightMissed         a night that should be over has no verdict
`- RegistryTrouble     MLflow or the ledger is out of reach, or in a state that must not be built upon
   `- Busy             another process, here or on another machine, is at work on the same project
"""


class KeelError(Exception):
    """An expected failure: shown to a person as its message alone, without a traceback."""


class BadInput(KeelError):
    """An argument, a path or a parameter is wrong."""


class PlanInvalid(BadInput):
    """An evaluation plan does not load."""


class DataRejected(KeelError):
    """The data contract failed, or the data cannot be read at all."""


class NoImages(DataRejected):
    """There is no image at all where images should be."""


class DirtyData(DataRejected):
    """The data differs from the version that DVC has recorded."""


class UnreadableImage(DataRejected):
    """A file is not one whole still image that Keel can decode."""


class AugmentationRejected(KeelError):
    """The audit found that augmentation loses labels, or that training with it is worse on clean images."""


class BackboneRefused(KeelError):
    """The catalogue's policy does not allow these weights."""


class HoldoutSpent(KeelError):
    """The test set was opened as often as the plan allows."""


class EvidenceMissing(KeelError):
    """A decision needs a file or a figure that is not there."""


class DigestMismatch(KeelError):
    """A file is not the one that was recorded."""


class AnswersDiffer(KeelError):
    """The model as it would be logged answers otherwise than it was judged."""


class NightMissed(KeelError):
    """A night that should be over has no verdict."""


class RegistryTrouble(KeelError):
    """MLflow or the ledger is out of reach, or in a state that must not be built upon."""


class Busy(RegistryTrouble):
    """Another process, here or on another machine, is at work on the same project."""
