"""Augmentation: new samples for nothing.

A digit that is rotated, shifted or bent a little is the same digit. Every step draws a map x -> A^-1 (x - c - d) + c
for each of its samples, and a smooth displacement (Simard 2003). See what the network sees, and the validation loss
with and without.
"""

from common import curves, digits, picture

import fastnn as fn

CHANGES = fn.augment.Image(8, 8, rotate=10, scale=(0.9, 1.1), shift=0.7, elastic=0.3, smooth=1.5)

if __name__ == "__main__":
    X, X_test, y, y_test = digits(test=0.7)
    path = picture(__file__)
    fn.plots.augmented(X, CHANGES, path=path.with_stem(f"{path.stem}_samples"))
    lines = {}
    for name, augment in {"as they are": None, "augmented": CHANGES}.items():
        net = fn.MLP([64, 256, 256, 10], activation="relu", output="softmax", seed=0)
        history = net.fit(
            X,
            y,
            augment=augment,
            schedule="cosine",
            epochs=100,
            batch_size=32,
            validation=(X_test, y_test),
            progress=False,
        )
        lines[name] = (history.loss, history.validation_loss)
        print(f"{name:12} test accuracy {history.validation_accuracy[-1]:.3f}")
    curves(path, ("Training loss", "Validation loss"), lines)
