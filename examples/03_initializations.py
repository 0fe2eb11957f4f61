"""Initial weights: signals must neither die nor explode on their way through the layers.

He: deviation sqrt(2 / n_in), made for ReLU; Glorot: sqrt(2 / (n_in + n_out)), made for tanh; LeCun: sqrt(1 / n_in);
orthogonal: lengths are kept. See how fast the same deep ReLU network learns from each.
"""

from common import curves, digits, picture

import fastnn as fn

INITIALIZERS = {
    "He": fn.HeNormal(),
    "Glorot": fn.GlorotNormal(),
    "LeCun": fn.LecunNormal(),
    "orthogonal": fn.Orthogonal(),
}

if __name__ == "__main__":
    X, X_test, y, y_test = digits()
    lines = {}
    for name, init in INITIALIZERS.items():
        net = fn.MLP([64, *[64] * 10, 10], activation="relu", output="softmax", init=init, seed=0)
        last = net.activations(X)[-2]
        history = net.fit(X, y, optimizer=fn.SGD(0.05), batch_size=32, epochs=15, validation=0.1, progress=False)
        lines[name] = (history.loss, history.validation_loss)
        print(
            f"{name:11} deviation after 10 layers {last.std():.3f}, test {net.evaluate(X_test, y_test)['accuracy']:.3f}"
        )
    curves(picture(__file__), ("Training loss", "Validation loss"), lines)
