"""What a user wants done at the end of every epoch, and early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn import checks
from fastnn.errors import InputError

if TYPE_CHECKING:
    from fastnn.job import Part
    from fastnn.losses import Loss
    from fastnn.network import MLP
    from fastnn.training import History


class Callback:
    """Base of callbacks: override what is needed. An exception stops the run; the network keeps its weights."""

    def training_starts(self, net: MLP, training: Part, loss: Loss, history: History) -> None:
        """What a fit trains on, by which loss, and the history that it will fill; just before fit_start."""

    def fit_start(self, net: MLP) -> None:
        """Training begins."""

    def epoch_end(self, net: MLP, history: History) -> bool | None:
        """An epoch ended, its values are the last ones of the history. True stops the run."""

    def fit_end(self, net: MLP, history: History) -> None:
        """Training ended, of itself or by Ctrl-C, but not by an error."""


class EarlyStopping(Callback):
    """Stop where the loss has not improved for some epochs, and put back the best weights.

    patience: epochs without improvement before stopping. least_change: by how much a loss must fall to count as
    better, at least 0. restore: whether the best weights are put back, also after Ctrl-C. Looks at the validation loss,
    and at the training loss where there is no validation.
    """

    def __init__(self, patience: int = 10, least_change: float = 0.0, restore: bool = True) -> None:
        self.patience = checks.whole("patience", patience)
        self.least_change = checks.real("least_change", least_change, least=0.0)
        self.restore = checks.flag("restore", restore)
        self._clear()

    def _clear(self) -> None:
        self.best_loss = float("inf")
        self.best_epoch = 0
        self._epochs = 0
        self._weights: Any = None

    def fit_start(self, net: MLP) -> None:
        self._clear()

    def epoch_end(self, net: MLP, history: History) -> bool:
        losses = history.validation_loss or history.loss
        self._epochs += 1
        if losses[-1] < self.best_loss - self.least_change:
            self.best_loss, self.best_epoch = losses[-1], self._epochs
            self._weights = None  # the last best ones make room first
            self._weights = (net.weights, net.norms) if self.restore else None
        return self._epochs - self.best_epoch >= self.patience

    def fit_end(self, net: MLP, history: History) -> None:
        if self._weights is not None:
            weights, norms = self._weights
            net.set_weights(weights)
            net.set_norms(norms)


def check(callbacks: Any) -> tuple[Callback, ...]:
    """The callbacks as a tuple. Raises InputError for anything that is none."""
    if isinstance(callbacks, Callback):
        return (callbacks,)
    try:
        given = tuple(callbacks)
    except TypeError:
        raise InputError(f"callbacks must be fastnn.Callback objects, got {callbacks!r}") from None
    for callback in given:
        if not isinstance(callback, Callback):
            raise InputError(f"callbacks must be fastnn.Callback objects, got {callback!r}")
    return given
