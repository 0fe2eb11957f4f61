"""Learning rates: large steps to come near, small ones to arrive.

Constant; step: times gamma every so many epochs; cosine: lr (1 + cos(pi t / T)) / 2. See how calmly those that fall
arrive.
"""

from common import curves, digits, picture

import fastnn as fn

SCHEDULES = {"constant": "constant", "step": fn.StepDecay(0.5, 6), "cosine": "cosine"}

if __name__ == "__main__":
    X, X_test, y, y_test = digits()
    lines = {}
    for name, schedule in SCHEDULES.items():
        net = fn.MLP([64, 64, 10], activation="relu", output="softmax", seed=0)
        history = net.fit(
            X,
            y,
            optimizer=fn.Momentum(0.1),
            schedule=schedule,
            batch_size=16,
            epochs=30,
            validation=0.1,
            progress=False,
        )
        lines[name] = (history.loss, history.validation_loss)
        print(f"{name:9} test accuracy {net.evaluate(X_test, y_test)['accuracy']:.3f}")
    curves(picture(__file__), ("Training loss", "Validation loss"), lines)
