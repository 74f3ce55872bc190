"""Cat or non-cat: logistic regression against the course's network of four layers.

    python examples/cats.py train_catvnoncat.h5 test_catvnoncat.h5 [misses.png]

The files hold 209 and 50 pictures of 64 × 64 pixels, as the well-known course gives them.
"""

import sys

import matplotlib

matplotlib.use("Agg")

from xpnet import SGD, Network, data, evaluate, plots, train

if len(sys.argv) < 3:
    sys.exit(__doc__)
training, test = data.load_hdf5(sys.argv[1]), data.load_hdf5(sys.argv[2])

for layer_sizes, epochs in ([12288, 1], 2000), ([12288, 20, 7, 5, 1], 2500):
    net = Network(layer_sizes, activation="relu", init="xavier", random_state=1)
    history = train(
        net,
        training.X,  # uint8 pictures: flattened and divided by 255 on the device
        training.y,
        classes=training.classes,
        optimizer=SGD(learning_rate=0.0075),
        epochs=epochs,
    )
    print(f"{net}")
    print(f"  cost {history['loss'][0]:.6f} → {history['loss'][-1]:.6f}")
    for name, part in ("train", training), ("test", test):
        print(f"  {name} accuracy {evaluate(net, part.X, part.y)[1]:.2f}")

axes = plots.misclassified(net, test.X, test.y)
picture = sys.argv[3] if len(sys.argv) > 3 else "misses.png"
axes.flat[0].figure.savefig(picture, dpi=120)
print(f"wrote {picture}: what the last network takes for something else")
