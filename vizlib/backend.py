"""TensorFlow and Keras, imported once and quietly: `from vizlib.backend import keras, tf`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# some of what C++ code writes to standard error on import knows no log level
_kept, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import keras  # noqa: F401 - for all others
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for a GPU now, while it is quiet
finally:
    os.dup2(_kept, 2)
    os.close(_kept)
    os.close(_nowhere)

# it takes every new layer or size, which has to be compiled, for a mistake
tf.get_logger().setLevel("ERROR")
