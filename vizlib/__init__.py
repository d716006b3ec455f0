"""Visualizing CNNs: small functions behind two notebooks. Importing this package imports nothing else.

From the ground up (a module imports only from those above it):

errors       the one kind of error that users read
backend      TensorFlow and Keras, imported quietly
parameters   notebook parameters as papermill hands them over, checked
files        where shipped files are; files written whole or not at all
images       the image contract (float32 RGB in [0, 1]), the gate for files, samples
graphs       Keras graphs taken apart and put together again
networks     pretrained networks with their preprocessing inside, cut at any layer
objectives   class score, feature match, priors; composed with + and *
canvas       what is optimised and how it becomes an image; random views of it
recipes      the papers' settings as data
optimise     the compiled loop: a generator of snapshots
metrics      feature error, similarity, consistency: arrays in, numbers out
inversion    images from a layer's features (Mahendran & Vedaldi)
class_image  images that maximise a class score (Simonyan et al.)
saliency     which pixels a score depends on
training     fine-tuning on photographs
segment      from a saliency map to a mask and a box
plots        arrays in, matplotlib axes out
check        exercises held against mathematics
widgets      panels with sliders, a live picture and a Stop
runs         what a notebook's run leaves behind
"""

__version__ = "0.2.0"
