"""What every device does for the API. processor.py and cuda.py do it, devices.py says which of them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fastnn.errors import FunctionError
from fastnn.job import Job, Part
from fastnn.losses import Loss

if TYPE_CHECKING:
    from fastnn.network import MLP


class Trainer(Protocol):
    """One fit on a device, which it holds from entering to leaving.

    Between `send` and `fetch` the device may have newer parameters, running averages and optimizer's state than the
    network. words: int64, see fastnn_kernels.team: how far the last `train` came, and how it ended. label: where it
    trains, in the user's words.
    """

    words: np.ndarray
    label: str

    def __enter__(self) -> Trainer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def span(self, most: int) -> int:
        """How many epochs, at most `most`, one call of `train` may take."""

    def train(self, epochs: int, results: np.ndarray, poll: Callable[[], None]) -> None:
        """Train so many epochs more. results: float64 (epochs, 5), see fastnn_kernels.epoch.train.

        poll is called about ten times a second. KeyboardInterrupt comes out after a whole step.
        """

    def validate(self) -> tuple[float, float | None]:
        """Mean loss and share of hits of the validation part, with the average of the weights where there is one."""

    def set_rate(self, rate: float) -> None:
        """The learning rate from now on."""

    def choose(self, samples: np.ndarray) -> None:
        """The rows of X that the epochs from now on have; not more than the training part has."""

    def fetch(self) -> None:
        """Bring what has been learned into the network; nothing after `restore`."""

    def send(self) -> None:
        """Go on from the parameters and running averages that the network has now."""

    def restore(self) -> None:
        """Bring the last good parameters and running averages into the network. Nothing is trained or fetched then."""

    def failure(self, where: str) -> FunctionError | None:
        """What is to be raised where a function of the user's own raised an exception; where: the message's end."""


class Engine(Protocol):
    """A device. Parts and losses are checked; parameters are those of the network, wherever the work is done."""

    def check(self, net: MLP, job: Job) -> None:
        """Before a fit changes anything: raises InputError for what the device does not know, and DeviceMemoryError."""

    def trainer(self, net: MLP, job: Job, report: Callable[[str], None]) -> Trainer:
        """Lay out a fit. report: is told what takes seconds."""

    def evaluate(self, net: MLP, part: Part, loss: Loss) -> tuple[float, float | None]:
        """Mean loss, and the share of hits, None where nothing counts as one."""

    def predict(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        """Outputs of the last activation, (samples, n_out)."""

    def gradient(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        """The gradient of the mean loss over the part, as a flat vector like the network's parameters."""

    def observe(self, net: MLP, part: Part, layer: int, activated: bool) -> np.ndarray:
        """Outputs of a layer, or what goes into its activation: (samples, n)."""
