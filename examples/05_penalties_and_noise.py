"""Against learning by heart: a large network on 200 samples.

L2 adds lambda / (2 m) sum w^2 to the loss, L1 lambda / m sum abs(w), which pulls most weights to 0; noise on the
inputs and dropout, where there is one, hide from the network what it could learn by heart. The overfitting gap,
validation loss - training loss without penalty, says how much it did. See that the plain network's validation loss
turns and rises, that noise keeps it falling, and that mild penalties change little here: ten times as strong, they cost
more than they bring.
"""

from common import curves, digits, picture

import fastnn as fn

TECHNIQUES = {  # a name: options of the hidden layers, options of fit
    "plain": ({}, {}),
    "L2": ({}, {"penalty": fn.L2(1.0)}),
    "L1": ({}, {"penalty": fn.L1(0.1)}),
    "noise": ({}, {"augment": fn.augment.Noise(0.3)}),
}
if "dropout" in fn.Dense.__dataclass_fields__:
    TECHNIQUES["dropout"] = ({"dropout": 0.5}, {})

if __name__ == "__main__":
    X, X_test, y, y_test = digits(test=0.888)
    lines = {}
    for name, (layer_options, fit_options) in TECHNIQUES.items():
        hidden = [fn.Dense(256, "relu", **layer_options) for _ in range(2)]
        net = fn.MLP(64, [*hidden, fn.Dense(10, "softmax")], seed=0)
        history = net.fit(X, y, epochs=100, batch_size=32, validation=(X_test, y_test), progress=False, **fit_options)
        lines[name] = (history.validation_loss, history.validation_accuracy)
        print(f"{name:8} test accuracy {history.validation_accuracy[-1]:.3f}, overfitting gap {history.gap[-1]:.3f}")
    curves(picture(__file__), ("Validation loss", "Validation accuracy"), lines, log=False)
