"""TensorFlow and Keras, imported once and quietly: `from vizlib.backend import keras, tf`."""

import contextlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _silence():
    """Whatever C++ code writes to standard error goes nowhere: some of TensorFlow's notes know no log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _silence():
    import keras  # noqa: F401 - for all others
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for a GPU now, while it is quiet

# it takes every new layer or size, which has to be compiled, for a mistake
tf.get_logger().setLevel("ERROR")
