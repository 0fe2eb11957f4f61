"""Batch, stochastic, minibatch: how many samples a step should see.

A step is w <- w - lr * 1/m sum dL_i/dw over its m samples. All of them give a smooth way and one step an epoch; one
sample gives a noisy way and a step a sample; some 32 are the compromise. See the losses for the same number of epochs.
"""

from common import curves, digits, picture

import fastnn as fn

BATCHES = {"batch (all)": "full", "minibatch (32)": 32, "stochastic (1)": 1}

if __name__ == "__main__":
    X, X_test, y, y_test = digits()
    lines = {}
    for name, size in BATCHES.items():
        net = fn.MLP([64, 64, 10], activation="tanh", output="softmax", seed=0)
        history = net.fit(X, y, optimizer=fn.SGD(0.05), batch_size=size, epochs=20, validation=0.1, progress=False)
        lines[name] = (history.loss, history.validation_loss)
        print(f"{name:16} test accuracy {net.evaluate(X_test, y_test)['accuracy']:.3f}")
    curves(picture(__file__), ("Training loss", "Validation loss"), lines)
