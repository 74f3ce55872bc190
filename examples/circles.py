"""Two circles: train a small network, and draw where it decides.

python examples/circles.py [picture.png]
"""

import sys

import matplotlib

matplotlib.use("Agg")  # write a file; a notebook would show the axes by itself
from matplotlib import pyplot as plt

from xpnet import Adam, Network, data, evaluate, plots, train

training, test = data.split(data.circles(1000))
net = Network([2, 10, 5, 1], activation="relu", init="he", random_state=0)
history = train(
    net,
    training.X,
    training.y,
    optimizer=Adam(learning_rate=0.01),
    batch_size=64,
    epochs=50,
    validation_data=(test.X, test.y),
)
loss, accuracy = evaluate(net, test.X, test.y)
print(f"{net}: test accuracy {accuracy:.3f}, loss {loss:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
plots.learning_curve(history, ax=left)
plots.decision_boundary(net, test.X, test.y, ax=right)
picture = sys.argv[1] if len(sys.argv) > 1 else "circles.png"
figure.savefig(picture, dpi=120)
print(f"wrote {picture}")
