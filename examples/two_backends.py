"""The same script on two backends: the same numbers, as far as rounding goes.

python examples/two_backends.py
"""

import numpy as np

from xpnet import Adam, Network, available_backends, data, evaluate, train
from xpnet.backend import Backend

circles = data.circles(1000)
curves = {}
for name, backend in available_backends().items():
    if not isinstance(backend, Backend):
        print(f"{name}: not here ({backend})")
        continue
    net = Network([2, 10, 5, 1], "tanh", precision="float64", backend=backend, random_state=1)
    history = train(
        net, circles.X, circles.y, optimizer=Adam(0.01), batch_size=64, epochs=20, seed=1
    )
    curves[name] = np.array(history["loss"])
    accuracy = evaluate(net, circles.X, circles.y)[1]
    print(f"{name}: {backend.device_name}: loss {curves[name][-1]:.12f}, accuracy {accuracy:.3f}")

for name, curve in curves.items():
    difference = np.abs(curve - curves["numpy"]).max()
    print(f"{name} and numpy: loss curves differ by at most {difference:.1e}")
