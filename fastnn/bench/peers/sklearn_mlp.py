"""scikit-learn's MLPClassifier and MLPRegressor: a partial_fit is one pass over the data in random order."""

from __future__ import annotations

import numpy as np

from fastnn.bench.peers import PeerTrainer, missing_package
from fastnn.bench.workloads import LEARNING_RATE, Workload


def available() -> str | None:
    return missing_package("sklearn")


class Trainer(PeerTrainer):
    def __init__(self, workload: Workload, X: np.ndarray, y: np.ndarray, threads: int) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
        estimator = MLPClassifier if workload.classifies else MLPRegressor
        self.model = estimator(
            hidden_layer_sizes=workload.sizes[1:-1],
            activation="relu",
            solver=workload.optimizer,
            alpha=0.0,
            batch_size=workload.rows,
            learning_rate_init=LEARNING_RATE,
            momentum=0.0,
            nesterovs_momentum=False,
            random_state=0,
        )
        self.X, self.y = X, y if workload.classifies or y.shape[1] > 1 else y[:, 0]
        self.options = {"classes": np.arange(workload.sizes[-1])} if workload.classifies else {}

    def epoch(self) -> None:
        self.model.partial_fit(self.X, self.y, **self.options)
