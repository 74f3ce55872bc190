"""The course's functions next to the engine: the same gradients, the same training run.

python examples/textbook_and_engine.py
"""

import numpy as np

from xpnet import SGD, Network, check_gradients, data, textbook, train

circles = data.circles(300)
X, y = circles.X, (circles.y == "inner").astype(int)
A0, Y = X.T, y.reshape(1, -1)  # columns are examples

# The textbook: five lines from parameters to parameters.
parameters = textbook.initialize_parameters_deep([2, 10, 5, 1], random_state=1)
start = {name: value.copy() for name, value in parameters.items()}
costs = []
for _ in range(500):
    AL, caches = textbook.L_model_forward(A0, parameters)
    costs.append(float(textbook.compute_cost(AL, Y)))
    grads = textbook.L_model_backward(AL, Y, caches)
    parameters = textbook.update_parameters(parameters, grads, learning_rate=0.1)

# The engine, from the same start.
net = Network([2, 10, 5, 1], init=start, precision="float64", backend="numpy")
print(f"finite differences agree to {check_gradients(net, X, y):.1e}")
history = train(net, X, y, optimizer=SGD(0.1), epochs=500)

difference = np.abs(np.array(history["loss"]) - costs).max()
print(f"cost {costs[0]:.4f} → {costs[-1]:.4f}; the two runs differ by at most {difference:.1e}")
