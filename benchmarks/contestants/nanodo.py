"""nanodo's own Trainer on its own model, loss and optimizer, in float32, its internal metrics off. Arguments: its
folder, then key=value of layers, heads, width, context, vocab, batch."""

import sys
import time

from contest import serve

folder, *pairs = sys.argv[1:]
size = {key: int(value) for key, value in (pair.split("=") for pair in pairs)}
sys.path.insert(0, folder)
import jax  # noqa: E402
import numpy as np  # noqa: E402
from nanodo import model_factory, train  # noqa: E402
from nanodo.configs import default  # noqa: E402

c = default.get_config()
c.batch_size = size["batch"]
c.model.update(
    D=size["width"], H=size["heads"], L=size["context"], N=size["layers"], F=4 * size["width"], dtype="float32"
)
c.opt.clip_by_global_norm = 1.0
c.log_internal_metrics = False
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
model, get_loss = model_factory.get_model_and_loss(c, size["vocab"])
shardings, state = train._init_train_state(c, model, rng=jax.random.PRNGKey(0), mesh=mesh)
trainer = train.Trainer(c=c, state=state, mesh=mesh, shardings=shardings, get_loss_fn=get_loss)
tokens = np.random.default_rng(0).integers(1, size["vocab"], (size["batch"], size["context"])).astype(np.int32)


def run(n: int) -> float:
    started = time.perf_counter()
    for _ in range(n):
        metrics = trainer.do_step(1, tokens)
        jax.block_until_ready(metrics)
    jax.block_until_ready(trainer.state)
    return time.perf_counter() - started


started = time.perf_counter()
run(1)
serve(dict(version=f"jax {jax.__version__}", compile_s=time.perf_counter() - started), run)
