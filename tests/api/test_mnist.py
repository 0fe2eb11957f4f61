"""Real data: MNIST, where it is at hand."""

import fastnn as fn


def test_mnist(mnist):
    """Two epochs beat a linear classifier's error of 12% (LeCun et al. 1998) by far."""
    data = fn.data.load(mnist)
    assert data.X.shape == (60000, 784)
    net = fn.MLP([784, 128, 10], output="softmax")
    history = net.fit(data.X, data.y, epochs=2, optimizer="adam", validation=0.1, progress=False)
    told = net.evaluate(data.X_test, data.y_test)
    assert told["accuracy"] > 0.95
    assert abs(history.validation_accuracy[-1] - told["accuracy"]) < 0.02
    assert (net.predict_class(data.X_test) == data.y_test).mean() == told["accuracy"]
