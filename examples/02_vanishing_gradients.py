"""Vanishing gradients: why deep sigmoid networks stand still, and ReLUs do not.

Backwards, delta_l = (delta_{l+1} W_{l+1}^T) * g(z_l), and a sigmoid's g is at most 1/4: eight layers leave little for
the first. A ReLU's g is 1 where it is on. See the gradient norm of every layer, dark for the first.
"""

from common import digits, picture

import fastnn as fn

if __name__ == "__main__":
    X, X_test, y, y_test = digits()
    for activation in ("sigmoid", "relu"):
        net = fn.MLP([64, *[32] * 8, 10], activation=activation, output="softmax", seed=0)
        look = fn.Diagnostics()
        history = net.fit(X, y, optimizer=fn.SGD(0.1), batch_size=32, epochs=10, callbacks=look, progress=False)
        norms = [layer.gradient_norm for layer in history.diagnostics[0].layers]
        accuracy = net.evaluate(X_test, y_test)["accuracy"]
        print(
            f"{activation:8} gradient of layer 1 / of layer 8: {norms[0] / norms[7]:.1e}, test accuracy {accuracy:.3f}"
        )
        path = picture(__file__)
        fn.plots.diagnostics(history, path.with_stem(f"{path.stem}_{activation}"))
